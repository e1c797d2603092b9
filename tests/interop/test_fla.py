"""The functions of flash-linear-attention: its arguments, grouped heads, packed sequences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.errors import ShapeError
from dsf.core.metrics import gate, ratio
from dsf.interop import fla

T, H, K, V = 9, 2, 3, 4


def drawn(batch: int = 1, length: int = T, heads: int = H, s: int = 1, seed: int = 0):
    """Arguments by name; log-decays and keys as mechanisms have them."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal
    keys = normal((batch, s * length, heads, K))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    return {
        "q": normal((batch, length, heads, K)), "k": keys,
        "v": normal((batch, s * length, heads, V)),
        "g": -rng.uniform(0, 1, (batch, length, heads)),
        "full": -rng.uniform(0, 1, (batch, length, heads, K)),
        "beta": rng.uniform(0, 1, (batch, s * length, heads)),
        "u": normal((heads, K)), "state": normal((batch, heads, K, V)),
    }  # fmt: skip


# name: (the call from arguments and the rest of the keywords, steps of a token)
CALLS = {
    "simple_gla": (lambda x, **kw: fla.simple_gla(x["q"], x["k"], x["v"], x["g"], **kw), 1),
    "linear": (lambda x, **kw: fla.simple_gla(x["q"], x["k"], x["v"], **kw), 1),
    "gla": (lambda x, **kw: fla.gla(x["q"], x["k"], x["v"], x["full"], **kw), 1),
    "rwkv6": (lambda x, **kw: fla.rwkv6(x["q"], x["k"], x["v"], x["full"], x["u"], **kw), 1),
    "rwkv7": (
        lambda x, **kw: fla.rwkv7(
            x["q"], x["full"], x["k"], x["v"], -x["k"], x["k"] * x["beta"][..., None], **kw
        ), 1,
    ),
    "delta": (lambda x, **kw: fla.delta_rule(x["q"], x["k"], x["v"], x["beta"], **kw), 1),
    "gated": (
        lambda x, **kw: fla.gated_delta_rule(x["q"], x["k"], x["v"], x["g"], x["beta"], **kw), 1
    ),
    "kda": (lambda x, **kw: fla.kda(x["q"], x["k"], x["v"], x["full"], x["beta"], **kw), 1),
    "product": (
        lambda x, **kw: fla.gated_delta_product(
            x["q"], x["k"], x["v"], x["g"], x["beta"], 2, **kw
        ), 2,
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", CALLS)


def step(name, S, x, t):
    """One token of one head as the formula reads: (o, S)."""
    q, k, v, a, beta, S = x["q"][t], x["k"], x["v"], x["g"][t], x["beta"], S.copy()
    full = np.exp(x["full"][t])[:, None]
    if name == "rwkv6":
        o = (S + np.outer(x["u"] * k[t], v[t])).T @ q
        return o, full * S + np.outer(k[t], v[t])
    if name == "rwkv7":
        S = full * S + np.outer(k[t] * beta[t], -k[t] @ S) + np.outer(k[t], v[t])
        return S.T @ q, S
    S *= full if name in ("gla", "kda") else 1.0 if name in ("linear", "delta") else np.exp(a)
    for i in range(2 * t, 2 * t + 2) if name == "product" else [t]:
        plain = name in ("simple_gla", "linear", "gla")
        S = S + np.outer(k[i], v[i] if plain else beta[i] * (v[i] - k[i] @ S))
    return S.T @ q, S


@EVERY
def test_the_recurrences(name):
    call, s = CALLS[name]
    x = drawn(s=s)
    y, last = call(x, initial_state=x["state"], output_final_state=True)
    scale = 1.0 if name == "rwkv7" else K**-0.5
    for h in range(H):
        mine = {n: z[0, :, h] for n, z in x.items() if n not in ("u", "state")}
        mine["u"], S = x["u"][h], x["state"][0, h]
        for t in range(T):
            o, S = step(name, S, mine, t)
            assert np.allclose(y[0, t, h], scale * o, rtol=1e-12, atol=1e-13)
        assert np.allclose(last[0, h], S, rtol=1e-12, atol=1e-13)


@EVERY
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_packed_sequences_do_not_see_each_other(name, lengths, seed):
    call, s = CALLS[name]
    cuts = np.cumsum([0, *lengths])
    x = drawn(length=int(cuts[-1]), s=s, seed=seed)
    states = np.random.default_rng(1).standard_normal((len(lengths), H, K, V))
    y, last = call(x, initial_state=states, output_final_state=True, cu_seqlens=cuts)
    for i, (a, b) in enumerate(pairwise(cuts)):
        part = {
            n: z if n in ("u", "state") else z[:, s * a : s * b] if n in ("k", "v", "beta")
            else z[:, a:b] for n, z in x.items()
        }  # fmt: skip
        alone, S = call(part, initial_state=states[i : i + 1], output_final_state=True)
        assert np.array_equal(alone, y[:, a:b]) and np.array_equal(S[0], last[i])


@pytest.mark.parametrize("name", ["simple_gla", "gated", "kda"])
def test_grouped_heads(name):
    """A head of keys and queries serves two of values, which lie next to each other."""
    call, _ = CALLS[name]
    x = drawn(2, heads=4)
    few = {**x, "q": x["q"][:, :, ::2], "k": x["k"][:, :, ::2]}
    both = {**x, **{n: np.repeat(few[n], 2, axis=2) for n in "qk"}}
    assert np.array_equal(call(few)[0], call(both)[0])
    with pytest.raises(ShapeError, match="3 heads of keys do not divide 4"):
        call({**x, "q": x["q"][:, :, :3], "k": x["k"][:, :, :3]})


def test_the_normaliser_and_its_state():
    x = drawn(2)
    q, k, v = abs(x["q"]), abs(x["k"]), x["v"]
    whole, (S, z) = fla.linear_attn(q, k, v, output_final_state=True)
    scores = np.tril(np.einsum("bthk,bshk->bhts", q, k)) / np.sqrt(K)
    weights = scores / (scores.sum(-1, keepdims=True) + 1e-10)
    exact = np.einsum("bhts,bshv->bthv", weights, v)
    assert ratio(whole, exact, 10 * abs(v).max() + 0 * exact) <= gate(T)
    assert np.allclose(z[:, 0], k.sum(1), rtol=1e-13)
    first, state = fla.linear_attn(q[:, :4], k[:, :4], v[:, :4], output_final_state=True)
    second, last = fla.linear_attn(
        q[:, 4:], k[:, 4:], v[:, 4:], initial_state=state, output_final_state=True
    )
    assert np.array_equal(np.concatenate([first, second], 1), whole)
    assert np.array_equal(last[0], S) and last[1].shape == (2, 1, H, K)


def test_a_constant_decay_for_each_head():
    x = drawn()
    gamma = np.log([0.9, 0.5])
    full = np.broadcast_to(gamma, (1, T, H))
    found = fla.simple_gla(x["q"], x["k"], x["v"], g_gamma=gamma)[0]
    assert np.array_equal(found, fla.simple_gla(x["q"], x["k"], x["v"], full)[0])


def test_normalised_queries_and_keys():
    x = drawn()
    q, k = (x[n] / np.sqrt((x[n] ** 2).sum(-1, keepdims=True) + 1e-6) for n in "qk")
    inside = fla.delta_rule(x["q"], x["k"], x["v"], x["beta"], use_qk_l2norm_in_kernel=True)[0]
    assert np.allclose(inside, fla.delta_rule(q, k, x["v"], x["beta"])[0], rtol=1e-13)


def test_forgetting_attention():
    x = drawn(length=6)
    f = x["g"]
    y = fla.forgetting_attn(x["q"], x["k"], x["v"], f, window_size=4)
    sums = f.cumsum(1)
    s = np.einsum("bthk,bshk->bhts", x["q"], x["k"]) / np.sqrt(K)
    s = s + sums.transpose(0, 2, 1)[..., None] - sums.transpose(0, 2, 1)[..., None, :]
    lag = np.arange(6)[:, None] - np.arange(6)
    s = np.where((lag >= 0) & (lag < 4), s, -np.inf)
    w = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    assert np.allclose(y, np.einsum("bhts,bshv->bthv", w, x["v"]), rtol=1e-12, atol=1e-13)
    packed = fla.forgetting_attn(x["q"], x["k"], x["v"], f, cu_seqlens=[0, 2, 6])
    part = {n: x[n][:, 2:] for n in "qkv"}
    assert np.array_equal(packed[:, 2:], fla.forgetting_attn(**part, g=f[:, 2:]))


@pytest.mark.parametrize("cuts", [[0, 3], [1, 9], [0, 5, 4, 9], [9], []])
def test_offsets_that_do_not_fit(cuts):
    x = drawn()
    with pytest.raises(ShapeError, match=r"cu_seqlens must be 0, \.\.\., 9"):
        CALLS["gla"][0](x, cu_seqlens=cuts)


def test_states_and_rows_that_do_not_fit_the_offsets():
    with pytest.raises(ShapeError, match="B = 2"):
        CALLS["gla"][0](drawn(2), cu_seqlens=[0, 9])
    x = drawn()
    with pytest.raises(ShapeError, match="one state for each of the 2 sequences"):
        CALLS["gla"][0](x, cu_seqlens=[0, 4, 9], initial_state=x["state"])


def test_gradients_through_packed_sequences():
    torch = pytest.importorskip("torch")
    x = {n: torch.tensor(z) for n, z in drawn().items()}
    offsets = torch.tensor([0, 4, 9])

    def run(q, g):
        changed = {**x, "q": q, "g": g}
        y, S = CALLS["gated"][0](changed, output_final_state=True, cu_seqlens=offsets)
        return y, S

    inputs = [x[n].requires_grad_() for n in ("q", "g")]
    assert torch.autograd.gradcheck(run, inputs)


def test_half_precision_comes_back():
    torch = pytest.importorskip("torch")
    x = {n: torch.tensor(z, dtype=torch.bfloat16) for n, z in drawn().items()}
    y, S = CALLS["kda"][0](x, output_final_state=True)
    assert y.dtype == torch.bfloat16 and S.dtype == torch.float32
    y, _ = fla.linear_attn(abs(x["q"]), abs(x["k"]), x["v"])
    assert y.dtype == torch.bfloat16
