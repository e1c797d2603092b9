"""Students in flash-linear-attention's names: its formulas, evaluated again, give their outputs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import dsf
from dsf.core.errors import ShapeError, UnknownNameError
from dsf.models.distil import Learned, fla, frozen

L, D, N = 12, 6, 3
NORMALISED = "linear_attn(phi='elu+1', normalise=True)"
CLASSES = ("gla", "deltanet", "deltanet(reach=2)", "gated_deltanet", "mamba2", "retnet", "rwkv6",
           "linear_attn", "linear_attn(phi='elu+1')", NORMALISED)  # fmt: skip
LAYERED = [c for c in CLASSES if c not in ("retnet", "rwkv6")]


def inputs(seed=0):
    return np.random.default_rng(seed).standard_normal((2, L, D))


def learnt(into, n=N) -> Learned:
    """A student that was hardly fitted, so that none of its parameters is a special one."""
    teacher = dsf.softmax.init(D, n=N, p=2, seed=3)
    return dsf.distil(teacher, into, n, inputs=inputs(), start="drawn", iterations=3)


def step(S, q, k, v, g=None, beta=None):
    """One token of the kernels, S [H K V]: decay, then erase, then write, then read."""
    S = S if g is None else S * np.exp(g).reshape(len(g), -1, 1)
    if beta is not None:
        v = beta[:, None] * (v - np.einsum("hkv,hk->hv", S, k))
    S = S + np.einsum("hk,hv->hkv", k, v)
    return S, np.einsum("hkv,hk->hv", S, q)


def naive(q, k, v, g=None, beta=None, scale=None, normalize=False):
    """Recurrences of gla, simple_gla, delta_rule, gated_delta_rule, linear_attn [B T H K]."""
    y = np.zeros(v.shape)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    for b in range(len(q)):
        S = np.zeros((*q.shape[2:], v.shape[-1]))
        for t in range(q.shape[1]):
            gate, strength = (None if x is None else x[b, t] for x in (g, beta))
            S, y[b, t] = step(S, scale * q[b, t], k[b, t], v[b, t], gate, strength)
    if normalize:
        y /= scale * np.einsum("bthk,bthk->bth", q, np.cumsum(k, 1))[..., None] + 1e-10
    return y


def naive_rwkv6(r, k, v, w, u, scale):
    y = np.zeros(v.shape)
    for b in range(len(r)):
        S = np.zeros((*r.shape[2:], v.shape[-1]))
        for t in range(r.shape[1]):
            kv = np.einsum("hk,hv->hkv", k[b, t], v[b, t])
            y[b, t] = scale * np.einsum("hkv,hk->hv", S + u[..., None] * kv, r[b, t])
            S = np.exp(w[b, t])[..., None] * S + kv
    return y


def outputs(into, named):
    if into == "rwkv6":
        return naive_rwkv6(**named)
    return naive(**named, normalize=into == NORMALISED)


@pytest.mark.parametrize("n", [1, N])
@pytest.mark.parametrize("into", CLASSES)
def test_the_kernel_gives_the_output_of_the_student(into, n):
    found = learnt(into, n)
    y = outputs(into, found.to_fla(inputs(1)))
    assert np.allclose(y[:, :, 0], found.instance(inputs(1)), atol=1e-9)
    one = outputs(into, found.to_fla(inputs(1)[0]))
    assert np.allclose(one[0], y[0], atol=1e-12)


@pytest.mark.parametrize("into", [c for c in CLASSES if c != NORMALISED])
def test_the_kernel_gives_the_output_of_a_frozen_student(into):
    M = dsf.softmax.init(D, n=N, seed=3).kernel(inputs())[0, 0]
    v = np.random.default_rng(0).standard_normal((L, 2))
    for n in (1, 2):
        found = dsf.distil(M, into, n, iterations=3)
        K = frozen.kernel(frozen.student(found.into), found.row().tokens)
        y = outputs(into, found.to_fla(v))
        assert np.allclose(y[0, :, 0], K @ v, atol=1e-9 * (1 + np.abs(K @ v).max()))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def projected(into, named, u):
    """The arguments of the kernel as the layer computes them from its parameters."""
    if into == "mamba2":
        x, B, C, dt = np.split(u @ named["in_proj.weight"].T, np.cumsum([1, N, N]), -1)
        dt = softplus(dt + named["dt_bias"])
        q, k, v, g = C, dt * B, x, -np.exp(named["A_log"]) * dt
        return {"q": q, "k": k, "v": v, "g": g, "scale": 1.0}
    q, k, v = (u @ named[f"{x}_proj.weight"].T for x in "qkv")
    if into == "gla":
        low = u @ named["gk_proj.0.weight"].T @ named["gk_proj.1.weight"].T
        return {"q": q, "k": k, "v": v, "g": -softplus(-low - named["gk_proj.1.bias"]) / 16}
    if into.startswith("linear_attn"):
        phi = (lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))) if "elu" in into else (
            lambda x: x)  # fmt: skip
        return {"q": phi(q), "k": phi(k), "v": v}
    beta = sigmoid(u @ named["b_proj.weight"].T)[..., 0] * (2 if "reach" in into else 1)
    found = {"q": q, "k": unit(k), "v": v, "beta": beta}
    if into == "gated_deltanet":
        dt = softplus(u @ named["a_proj.weight"].T + named["dt_bias"])
        found["g"] = -np.exp(named["A_log"]) * dt
    return found


@pytest.mark.parametrize("into", LAYERED)
def test_the_parameters_of_a_layer_give_the_output_of_the_student(into):
    """Of Mamba2, GatedDeltaNet and DeltaNet without what they do to projections besides."""
    found, u = learnt(into), inputs(1)
    args = projected(into, found.to_fla(), u)
    args = {k: x[:, :, None] if k in "qkv" else x for k, x in args.items()}  # one head
    if into == "gla":
        args["g"] = args["g"][:, :, None]
    if args.get("beta") is not None:
        args["beta"] = args["beta"][..., None]
    y = naive(**args, normalize=into == NORMALISED)
    assert np.allclose(y[:, :, 0], found.instance(u), atol=1e-9)


def test_what_has_no_place_there():
    for into in ("retnet", "rwkv6", "linear_attn(phi=exp)", "deltanet(unit_keys=False)"):
        with pytest.raises(UnknownNameError, match="no layer"):
            fla.parameters(dsf.family(into).init(D, n=N, p=1))
    for into in ("mlstm", "mesa", "normalised_attn"):
        mech = dsf.family(into).init(D, n=N, p=1)
        with pytest.raises(UnknownNameError, match=f"tokens of {into}"):
            fla.arguments(mech.name, mech.tokens(inputs()))
    with pytest.raises(ShapeError, match="inputs"):
        learnt("gla").to_fla(inputs()[..., :-1])


# ---------------------------------------------------------------------- with the library itself
FUNCTIONS = {
    "gla": ("gla", "naive_recurrent_gla", {"g": "gk"}, True),
    "deltanet": ("delta_rule", "delta_rule_recurrence", {}, False),
    "gated_deltanet": ("gated_delta_rule", "naive_recurrent_gated_delta_rule", {}, True),
    "mamba2": ("simple_gla", "naive_recurrent_simple_gla", {}, True),
    NORMALISED: ("linear_attn", "naive_recurrent_linear_attn", {}, True),
}  # class: folder, function, its names of ours, whether it wants time before heads


@pytest.mark.slow
@pytest.mark.parametrize("into", FUNCTIONS)
def test_its_own_slow_functions_give_the_output_of_the_student(into):
    """Read by path: the package itself needs triton."""
    pytest.importorskip("einops")
    place = importlib.util.find_spec("fla")
    if place is None:
        pytest.skip("flash-linear-attention is not installed")
    folder, name, names, time_first = FUNCTIONS[into]
    [path] = [p for root in place.submodule_search_locations
              if (p := Path(root) / "ops" / folder / "naive.py").exists()]  # fmt: skip
    spec = importlib.util.spec_from_file_location(f"fla_{folder}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = learnt(into)
    args = found.to_fla(inputs(1))
    assert args.pop("scale") == N**-0.5  # its default
    args = {names.get(k, k): torch.tensor(x) for k, x in args.items()}
    if not time_first:
        args = {k: x.transpose(1, 2) for k, x in args.items()}
    more = {"normalize": True} if into == NORMALISED else {}
    y = getattr(module, name)(**args, **more)[0].numpy()
    y = y[:, :, 0] if time_first else y[:, 0]
    assert np.allclose(y, found.instance(inputs(1)), atol=1e-5)  # float32 there
