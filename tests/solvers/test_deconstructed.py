"""Deconstructed mixers and the head with gates: numpy against torch, slow twins, bad names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.errors import UnknownNameError
from dsf.mechanisms.linear.features import feature_map
from dsf.solvers.heads import deconstructed as dc
from dsf.solvers.heads.interventions import GATES, gated_head
from dsf.solvers.heads.transition_toy import graph, loss
from dsf.theory_tests.run import run


def tokens(seed, T=7, d=3):
    return np.random.default_rng(seed).standard_normal((3, 2, T, d))


def slow(name, q, k):
    """The formulas, entry by entry."""
    T, d = q.shape
    A = np.zeros((T, T))
    for i in range(T):
        s = [q[i] @ k[j] / d**0.5 for j in range(i + 1)]
        own = [sum(q[j] / (1 + np.exp(-q[j])) * k[j]) / d**0.5 for j in range(i + 1)]
        weights = {
            "standard": [np.exp(x) for x in s],
            "non-approximate": [np.exp(x) for x in own],
            "taylor": [1 + x + x * x / 2 for x in s],
            "uniform": [1.0] * (i + 1),
            "mlp": [0.0] * i + [1.0],
        }
        if name == "approximate":
            one, two = ([sum((q[i] * k[j]) ** r) for j in range(i + 1)] for r in (1, 2))
            A[i, : i + 1] = 1 / (i + 1) + np.array(one) / sum(one) + np.array(two) / sum(two)
        else:
            A[i, : i + 1] = np.array(weights[name]) / sum(weights[name])
    return A


@given(st.integers(0, 99), st.sampled_from(["standard", "non-approximate", "taylor", "uniform"]))
def test_maps_are_their_formulas(seed, name):
    q, k, _ = tokens(seed)
    A = np.broadcast_to(dc.mixing_map(name, q, k), (2, 7, 7))
    for h in range(2):
        np.testing.assert_allclose(A[h], slow(name, q[h], k[h]), atol=1e-13)


@pytest.mark.parametrize("name", ["approximate", "mlp"])
def test_maps_are_their_formulas_too(name):
    q, k, _ = tokens(1)
    A = np.broadcast_to(dc.mixing_map(name, q, k), (2, 7, 7))
    np.testing.assert_allclose(A[0], slow(name, q[0], k[0]), rtol=1e-9)


MECHANISMS = {  # mixer -> families and their tokens q, k, whose outputs add up to its output
    "standard": [("softmax", lambda q, k: (q, k))],
    "uniform": [("linear_attn(normalise=True)", lambda q, k: (q**0, k**0))],
    "mlp": [("window_softmax(width=1)", lambda q, k: (q, k))],
    "non-approximate": [
        (
            "linear_attn(phi=exp, normalise=True)",
            lambda q, k: (q[..., :1] ** 0, np.exp(dc.key_logits(q, k))[..., None]),
        )
    ],
    "taylor": [
        (
            "linear_attn(phi=taylor, normalise=True)",
            lambda q, k: (feature_map("taylor", q / q.shape[-1] ** 0.5), feature_map("taylor", k)),
        )
    ],
    "approximate": [
        ("linear_attn(normalise=True)", lambda q, k, r=r: (q**r, k**r)) for r in range(3)
    ],
}


@pytest.mark.parametrize("name", dc.MAPS)
def test_each_mixer_is_a_mechanism_of_the_catalogue(name):
    q, k, v = tokens(4)
    plain = "standard" if name.endswith("QK") else name
    outputs = []
    for family, features in MECHANISMS[plain]:
        queries, keys = features(q, k)
        outputs.append(run(dsf.family(family), q=queries, k=keys, v=v))
    A = dc.mixing_map(name, q, k)
    np.testing.assert_allclose(A @ v, sum(outputs), atol=1e-13 * np.abs(A).max() ** 2)


@pytest.mark.parametrize("name", dc.MAPS)
def test_torch_and_numpy_agree_and_gradients_are_finite(name):
    import torch

    q, k, v = tokens(2)
    tensors = [torch.tensor(x, requires_grad=True) for x in (q, k, v)]
    out = dc.mixing_map(name, *tensors[:2]) @ tensors[2]
    np.testing.assert_allclose(out.detach().numpy(), dc.mixing_map(name, q, k) @ v, rtol=1e-9)
    (out**2).sum().backward()
    assert all(t.grad is None or bool(torch.isfinite(t.grad).all()) for t in tensors)


@pytest.mark.parametrize("scan", [dc.non_approximate_scan, dc.approximate_scan])
def test_recurrences_run_on_torch(scan):
    import torch

    arrays = tokens(3)
    np.testing.assert_allclose(
        scan(*map(torch.tensor, arrays))[0].numpy(), scan(*arrays)[0], rtol=1e-9
    )


def test_sources_of_queries_and_keys():
    hidden, embeddings, fixed = np.eye(3)
    found = {name: dc.qk_source(name, hidden, embeddings, fixed) for name in dc.MAPS}
    assert found["StaticEmbQK"] is embeddings and found["standard"] is hidden
    assert found["RndEmbQK"] is fixed and found["FixedSeqQK"] is fixed


def test_unknown_names():
    q = np.zeros((1, 1))
    with pytest.raises(UnknownNameError, match="StaticEmbQK"):
        dc.mixing_map("static", q, q)
    with pytest.raises(UnknownNameError, match="standard"):
        dc.qk_source("static", q, q, q)
    with pytest.raises(UnknownNameError, match="G1"):
        gated_head(q, q, q, q, q, "G6")


@pytest.mark.parametrize("gate", GATES)
def test_an_open_gate_changes_nothing(gate):
    """A logit of 40 opens every gate; zero weights halve what is gated."""
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(6), rng.standard_normal((6, 4))])
    Wq, Wk, Wv = rng.standard_normal((3, 5, 2))
    Wo = rng.standard_normal((2, 5))
    plain = gated_head(x, Wq, Wk, Wv, Wo)
    np.testing.assert_allclose(plain, dsf.softmax.cls(Wq, Wk, Wv)(x) @ Wo, rtol=1e-12)
    width = 5 if gate == "G5" else 2
    opened = np.zeros((5, width))
    opened[0] = 40.0
    np.testing.assert_allclose(gated_head(x, Wq, Wk, Wv, Wo, gate, opened), plain, rtol=1e-12)
    half = gated_head(x, Wq, Wk, Wv, Wo, gate, np.zeros((5, width)))
    if gate in ("G1", "G2", "G5"):
        np.testing.assert_allclose(half, plain / 2, rtol=1e-13)
    elif gate in ("G3", "G4"):  # half the logits
        np.testing.assert_allclose(half, gated_head(x, Wq / 2, Wk, Wv, Wo), rtol=1e-12)


@given(st.integers(0, 50), st.booleans())
def test_gradient_of_the_graph_toy(seed, scales):
    E, P = graph(seed % 5)
    x = np.random.default_rng(seed).standard_normal(36 + 12 * scales)
    _, gradient = loss(x, E, P, 0.01)
    step = 1e-6
    for i in (0, 17, len(x) - 1):
        e = step * np.eye(len(x))[i]
        slope = (loss(x + e, E, P, 0.01)[0] - loss(x - e, E, P, 0.01)[0]) / (2 * step)
        assert gradient[i] == pytest.approx(slope, abs=1e-7)
