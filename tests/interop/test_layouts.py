"""Tokens in other layouts: the family on them against the plain recurrence of the other library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf import interop
from dsf.core.errors import DomainError, DTypeError, ShapeError, UnknownNameError
from dsf.core.state import State

TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def fla_inputs(seed, K=3, V=2, B=2, T=6, H=2):
    rng = np.random.default_rng(seed)
    q, k = rng.standard_normal((2, B, T, H, K))
    v, beta = rng.standard_normal((B, T, H, V)), rng.uniform(0, 1, (B, T, H))
    return q, k, v, beta, -rng.uniform(0, 2, (B, T, H, K)), -rng.uniform(0, 2, (B, T, H))


def output(name, tokens):
    """o [B T H V] of a family on tokens."""
    o, _ = dsf.family(name).without_parameters().advance(tokens, State())
    return np.moveaxis(o[..., 0, :], -2, -3)


@given(st.integers(0, 10**6), st.sampled_from([None, 0.3]), st.booleans())
def test_fla_gated_linear_attention(seed, scale, one_gate):
    q, k, v, _, g, g1 = fla_inputs(seed)
    tokens = interop.from_fla(q, k, v, g=g1 if one_gate else g, scale=scale)
    B, T, H, K = q.shape
    want, S = np.zeros_like(v), np.zeros((B, H, K, v.shape[-1]))
    for t in range(T):  # the recurrence of that library: scale on q, decay exp(g)
        decay = np.exp(g1[:, t, :, None] if one_gate else g[:, t])
        S = decay[..., None] * S + k[:, t, :, :, None] * v[:, t, :, None, :]
        want[:, t] = np.einsum("bhk,bhkv->bhv", q[:, t] * (K**-0.5 if scale is None else scale), S)
    np.testing.assert_allclose(output("gla", tokens), want, **TIGHT)


@given(st.integers(0, 10**6), st.booleans())
def test_fla_delta_rules(seed, gated):
    q, k, v, beta, _, g = fla_inputs(seed)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    tokens = interop.from_fla(q, k, v, g=g if gated else None, beta=beta)
    B, T, H, K = q.shape
    want, S = np.zeros_like(v), np.zeros((B, H, K, v.shape[-1]))
    for t in range(T):  # decay first, then replace what the decayed state predicts
        S = S * (np.exp(g[:, t])[..., None, None] if gated else 1)
        error = v[:, t] - np.einsum("bhkv,bhk->bhv", S, k[:, t])
        S = S + np.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t][..., None] * error)
        want[:, t] = np.einsum("bhkv,bhk->bhv", S, q[:, t]) * K**-0.5
    np.testing.assert_allclose(
        output("gated_deltanet" if gated else "deltanet", tokens), want, **TIGHT
    )


@given(st.integers(0, 10**6), st.sampled_from([None, 0.3]), st.sampled_from(["", "vector", "one"]))
def test_fla_round_trip(seed, scale, gate):
    q, k, v, beta, g, g1 = fla_inputs(seed)
    arguments = {"q": q, "k": k, "v": v, "beta": beta}
    if gate:
        arguments["g"] = g if gate == "vector" else g1
    back = interop.to_fla(interop.from_fla(**arguments, scale=scale), scale=scale)
    assert back.pop("scale") == (q.shape[-1] ** -0.5 if scale is None else scale)
    assert back.keys() == arguments.keys()
    for name, x in arguments.items():
        np.testing.assert_allclose(back[name], x, rtol=1e-15)


def test_fla_arguments_of_a_mechanism_give_its_output():
    mech = dsf.gated_deltanet.init(d=4, n=3, p=2, heads=2)
    u = np.random.default_rng(0).standard_normal((5, 4))
    arguments = interop.to_fla(mech.tokens(u))
    assert arguments["q"].shape == (1, 5, 2, 3) and arguments["g"].shape == (1, 5, 2)
    o = output("gated_deltanet", interop.from_fla(**arguments))
    np.testing.assert_allclose(o[0].reshape(5, 4), mech(u), **TIGHT)


def test_fla_traps_are_diagnosed():
    q, k, v, beta, g, _ = fla_inputs(0)
    with pytest.raises(DomainError, match=r"pass log\(g\)"):
        interop.from_fla(q, k, v, g=np.exp(g))
    with pytest.raises(ShapeError, match="heads before time"):
        interop.from_fla(q.swapaxes(1, 2), k.swapaxes(1, 2), v)
    with pytest.raises(ShapeError, match="beta must be"):
        interop.from_fla(q, k, v, beta=beta[0])
    with pytest.raises(ShapeError, match="g must be"):
        interop.from_fla(q, k, v, g=g[..., :1])
    with pytest.raises(UnknownNameError, match="bonus"):
        interop.to_fla(dsf.rwkv6.init(d=4, n=2).tokens(np.ones((3, 4))))
    with pytest.raises(ShapeError, match="rows of substeps"):
        product = dsf.deltaproduct.init(d=4, n=2).tokens(np.ones((3, 4)))
        interop.to_fla(product)


def scan_inputs(seed, B=2, D=3, N=4, L=5):
    rng = np.random.default_rng(seed)
    u, raw = rng.standard_normal((2, B, D, L))
    A = -rng.uniform(0.1, 2, (D, N))
    b, c = rng.standard_normal((2, B, N, L))
    return u, raw, A, b, c, rng.standard_normal(D), rng.standard_normal(D)


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_selective_scan_of_mamba(seed, grouped, skip):
    u, raw, A, b, c, D, bias = scan_inputs(seed)
    B4, C4 = (x[:, None] if grouped else x for x in (b, c))
    tokens = interop.from_mamba(
        u, raw, A, B4, C4, D=D if skip else None, delta_bias=bias, delta_softplus=True
    )
    delta = np.log1p(np.exp(raw + bias[:, None]))
    x, want = np.zeros((2, 3, 4)), np.zeros_like(u)
    for t in range(u.shape[-1]):  # the published scan
        x = np.exp(delta[..., t, None] * A) * x
        x = x + delta[..., t, None] * b[:, None, :, t] * u[..., t, None]
        want[..., t] = (x * c[:, None, :, t]).sum(-1) + (D * u[..., t] if skip else 0)
    o, _ = dsf.mamba(skip=skip).without_parameters().advance(tokens, State())
    np.testing.assert_allclose(o[..., 0, 0], want, **TIGHT)


@given(st.integers(0, 10**6), st.booleans())
def test_mamba_round_trip(seed, skip):
    u, raw, A, B, C, D, _ = scan_inputs(seed)
    arguments = {"u": u, "delta": np.exp(raw), "A": A, "B": B, "C": C}
    if skip:
        arguments["D"] = D
    back = interop.to_mamba(interop.from_mamba(**arguments))
    assert back.keys() == arguments.keys()
    for name, x in arguments.items():
        np.testing.assert_array_equal(back[name], x)


def test_mamba_arguments_of_a_mechanism_give_its_output():
    mech = dsf.mamba(skip=True).init(d=3, n=2)
    u = np.random.default_rng(0).standard_normal((5, 3))
    tokens = interop.from_mamba(**interop.to_mamba(mech.tokens(u)))
    o, _ = dsf.mamba(skip=True).without_parameters().advance(tokens, State())
    np.testing.assert_allclose(o[0, :, :, 0, 0].T, mech(u), **TIGHT)


def test_mamba_traps_are_diagnosed():
    u, raw, A, B, C, D, _ = scan_inputs(0)
    delta = np.exp(raw)
    with pytest.raises(DomainError, match=r"-exp\(A_log\)"):
        interop.from_mamba(u, delta, np.log(-A) + 5, B, C)
    with pytest.raises(DomainError, match="delta_softplus=True"):
        interop.from_mamba(u, raw, A, B, C)
    with pytest.raises(ShapeError, match="time before channels"):
        interop.from_mamba(u.swapaxes(1, 2), delta.swapaxes(1, 2), A, B, C)
    with pytest.raises(ShapeError, match="2 groups"):
        interop.from_mamba(u, delta, A, np.stack([B, B], 1), C)
    with pytest.raises(ShapeError, match="D must be"):
        interop.from_mamba(u, delta, A, B, C, D=D[:2])
    with pytest.raises(UnknownNameError, match="another mechanism"):
        interop.to_mamba(dsf.gla.init(d=2).tokens(np.ones((3, 2))))


def test_layouts_of_torch_tensors():
    import torch

    q, k, v, beta, _, g1 = (torch.tensor(x, requires_grad=True) for x in fla_inputs(0))
    tokens = interop.from_fla(q, k, v, g=g1, beta=beta)
    o, _ = dsf.gated_deltanet.without_parameters().advance(tokens, State())
    o.sum().backward()
    assert q.grad.any() and g1.grad.any()
    back = interop.to_fla(tokens)
    assert torch.allclose(back["q"], q) and torch.equal(back["beta"], beta)
    u, raw, A, B, C, D, bias = (torch.tensor(x) for x in scan_inputs(0))
    tokens = interop.from_mamba(u, raw, A, B, C, D, bias, delta_softplus=True)
    assert torch.equal(interop.to_mamba(tokens)["D"], D)


# ------------------------------------------------------------------ what users bring
def test_a_step_of_zero_changes_nothing():
    """Padding: the state goes through, and the output there is read from it."""
    rng = np.random.default_rng(0)
    u, A = rng.standard_normal((1, 3, 6)), -np.ones((3, 2))
    B, C = rng.standard_normal((2, 1, 2, 6))
    dt = np.abs(rng.standard_normal((1, 3, 6)))
    dt[..., 3] = 0.0
    ltv, X = dsf.mamba.without_parameters().system(interop.from_mamba(u, dt, A, B, C))
    y, S = ltv.scan(X)
    keep = [0, 1, 2, 4, 5]
    parts = (x[..., keep] for x in (u, dt))
    short, X = dsf.mamba.without_parameters().system(
        interop.from_mamba(*parts, A, *(x[..., keep] for x in (B, C)))
    )
    z, T = short.scan(X)
    np.testing.assert_allclose(y[..., keep, :, :], z, rtol=1e-12)
    np.testing.assert_allclose(S, T, rtol=1e-12)


def test_negative_steps_are_refused_and_tiny_ones_are_not():
    u, A, B = np.ones((1, 2, 3)), -np.ones((2, 2)), np.ones((1, 2, 3))
    with pytest.raises(DomainError, match="pass delta_softplus=True"):
        interop.from_mamba(u, -u, A, B, B)
    delta = np.full((1, 2, 3), -110, np.float32)  # whose softplus is 0 in float32
    tok = interop.from_mamba(u, delta, A, B, B, delta_softplus=True)
    assert np.all(np.asarray(tok.dt) >= 0)


def test_shared_heads_of_keys_are_told_how_to_repeat():
    q, v = np.ones((1, 5, 2, 3)), np.ones((1, 5, 4, 3))
    with pytest.raises(ShapeError, match=r"2 heads of keys serve 4 heads of values.*np.repeat"):
        interop.from_fla(q, q, v)
    repeated = np.repeat(q, 2, axis=2)
    assert interop.from_fla(repeated, repeated, v).q.shape == (1, 4, 5, 3)


def test_complex_systems_of_the_selective_scan_are_refused():
    u, A, B = np.ones((1, 2, 3)), -np.ones((2, 2)) + 1j, np.ones((1, 2, 3))
    with pytest.raises(DTypeError, match="the real part of a complex system twice"):
        interop.from_mamba(u, u, A, B, B)
