"""Systems in kernels: every recurrence of the catalogue against its single steps."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.core import fast, hooks
from dsf.core.catalogue import everything
from dsf.core.errors import OverflowingScanError
from dsf.core.kinds import Recurrence
from dsf.core.metrics import effective_length, gate, ratio, scale

pytest.importorskip("numba")
FAMILIES = [f for f in everything() if issubclass(f.cls, Recurrence)]
# of S [H n p] with these sizes; what is not here has one state and one column
STRUCTURE = {"Diag": ("linear", "selective", "diagonal"), "LowRank": ("low_rank",)}


@pytest.fixture
def used(monkeypatch):
    """The structures that ran, in order."""
    names, kernel = [], hooks.kernel

    def noted(structure, arrays, numbers):
        names.append(structure)
        return kernel(structure, arrays, numbers)

    monkeypatch.setattr(hooks, "kernel", noted)
    monkeypatch.setattr(fast, "SMALL", 0)
    return names


def drawn(family, L=70):
    tok = family.draw_tokens(np.random.default_rng(0), L, n=4, p=6, d=6)
    return family.without_parameters().system(tok)


def single_steps(ltv, X, S=None):
    ltv, X, S = ltv._driven_by(X, S)
    return ltv._scan(X, S, 0, ltv.length)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_recurrence(family, used):
    ltv, X = drawn(family)
    state = np.random.default_rng(1).standard_normal((*ltv.out_batch(X), ltv.n, X.shape[-1]))
    for S in (None, state):
        used.clear()
        (y, last), (z, end) = ltv.scan(X, S), single_steps(ltv, X, S)
        assert used and set(used) <= set(STRUCTURE[type(ltv.A).__name__])
        assert ratio(y, z, scale(ltv, X, S)) <= gate(effective_length(ltv))
        assert y.shape == z.shape and y.dtype == z.dtype and last.shape == end.shape
        assert np.allclose(last, end, rtol=1e-11, atol=1e-12 * np.abs(end).max())


def test_small_systems_run_step_by_step(monkeypatch):
    monkeypatch.setattr(hooks, "kernel", None)
    ltv, X = drawn(dsf.gla, L=8)
    assert ltv.scan(X)[0].shape == X.shape


def test_balls_run_step_by_step(monkeypatch):
    pytest.importorskip("flint")
    monkeypatch.setattr(hooks, "kernel", None)
    monkeypatch.setattr(fast, "SMALL", 0)
    ltv, X = drawn(dsf.gla, L=3)
    y = ltv.map(dsf.balls).scan(dsf.balls(X))[0]
    assert y.dtype == object and y.shape == X.shape


def test_where_a_state_overflows_the_step_is_named(used):
    one = np.ones((40, 1, 1))
    ltv = dsf.LTV(dsf.Diag(a=np.full((1, 1), 1e10)), one, one)
    X = np.ones((40, 1, 8))
    with pytest.raises(OverflowingScanError, match="step 32 of 40"):
        ltv.scan(X)
    assert used == ["linear"]


def test_nan_in_one_token_spoils_what_comes_after_it(used):
    ltv, X = drawn(dsf.gla)
    X[..., 30, 0, 0] = np.nan
    y, z = ltv.scan(X)[0], single_steps(ltv, X)[0]
    assert np.array_equal(np.isnan(y), np.isnan(z)) and not np.isnan(y[..., :30, :, :]).any()
    assert np.array_equal(y, z, equal_nan=True)


@pytest.mark.parametrize("name", ["gla", "mamba", "gated_deltanet", "s4d", "retnet", "rwkv6"])
def test_gradients_of_layers(name, used, monkeypatch):
    torch = pytest.importorskip("torch")
    layer = dsf.family(name).to_torch(d=8).double()
    x = torch.randn(2, 40, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.parameters()]

    def gradients():
        found = torch.autograd.grad(layer(x).square().sum(), inputs, allow_unused=True)
        return [g for g in found if g is not None]  # options switch some parameters off

    found = gradients()
    assert used and len(found) > 3
    monkeypatch.setattr(hooks, "kernel", lambda *call: None)
    for g, h in zip(found, gradients(), strict=True):
        assert torch.allclose(g, h, rtol=1e-9, atol=1e-11 * float(h.abs().max() + 1))


@pytest.mark.parametrize("name", ["gla", "mamba", "gated_deltanet", "s4d"])
def test_transforms_of_layers(name, used):
    torch = pytest.importorskip("torch")
    layer = dsf.family(name).to_torch(d=4).double()
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    assert torch.allclose(torch.vmap(layer)(x), layer(x), rtol=1e-12, atol=1e-13)
    J = torch.func.jacrev(layer)(x[0])
    assert J.shape == (7, 4, 7, 4) and used
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), layer(x), rtol=1e-12, atol=1e-13)
