"""The streamed softmax attention against the formula, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf import kernels
from dsf.core import fast
from dsf.core.errors import DTypeError, KernelError, OverflowingScanError, ShapeError
from dsf.core.metrics import gate, ratio

pytest.importorskip("numba")
from dsf.kernels.softmax import numba, reference


def drawn(B=1, M=5, N=5, H=2, G=1, K=3, V=4, *, bias=False, forget=False, sink=False, seed=0):
    """The six canonical arrays."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal
    return [
        normal((B, M, H, K)), normal((B, N, G, K)), normal((B, N, G, V)),
        normal((B, H, M, N if bias else 0)), -rng.uniform(0, 0.5, (B, N if forget else 0, H)),
        normal((B, H if sink else 0)),
    ]  # fmt: skip


def agree(found, wanted, arrays, numbers):
    """y beside the sum of |v| that it may be made of; log sums beside the sizes of the logits."""
    q, k, v, bias, *_ = (abs(x) for x in arrays)
    N = k.shape[1]
    (y, lse), (z, exact) = found, wanted
    assert np.array_equal(np.isfinite(lse), np.isfinite(exact))
    logits = 1 + numbers[0] * q.sum(-1).max(initial=0) * k.max(initial=0) + bias.max(initial=0)
    assert ratio(y, z, logits * v.max(initial=1e-300) + 0 * z) <= gate(N)
    fine = np.isfinite(exact)
    assert ratio(lse[fine], exact[fine], logits + abs(exact[fine])) <= gate(N)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("M", "N"), [(0, 0), (1, 1), (1, 64), (3, 0), (63, 63), (65, 130), (2, 260), (70, 6)]
)
@pytest.mark.parametrize("extras", [{}, {"bias": True, "forget": True, "sink": True}])
@pytest.mark.parametrize(("causal", "window"), [(1, 0), (1, 1), (1, 66), (0, 0)])
def test_values(M, N, extras, causal, window, dtype):
    arrays = drawn(2, M, N, **{**extras, "forget": bool(causal and extras)})
    numbers = [0.7, causal, window]
    rough = [x.astype(dtype) for x in arrays]
    found = numba.forward(*rough, *numbers)
    wanted = reference.forward(*[x.astype(np.float64) for x in rough], *numbers)
    assert found[0].dtype == found[1].dtype == dtype
    agree(found, wanted, arrays, numbers)


@given(
    sizes=st.tuples(*[st.integers(1, 9)] * 2, *[st.integers(1, 4)] * 5),
    flags=st.tuples(*[st.booleans()] * 4),
    window=st.integers(0, 5), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_any_sizes(sizes, flags, window, seed):
    M, N, B, G, group, K, V = sizes
    bias, forget, sink, causal = flags
    forget, window = forget and causal, window * causal
    arrays = drawn(
        B, M, N, G * group, G, K, V, bias=bias, forget=forget, sink=sink, seed=seed
    )  # fmt: skip
    numbers = [0.7, float(causal), float(window)]
    agree(numba.forward(*arrays, *numbers), reference.forward(*arrays, *numbers), arrays, numbers)


def test_prefill_then_one_by_one():
    """A cache of keys, and the queries of one call, of two, or one at a time."""
    q, k, v, _, f, s = drawn(M=150, N=150, forget=True, sink=True)
    whole = kernels.softmax_attention(q, k, v, log_forget=f, sink=s[0])
    for cut in (0, 1, 63, 64, 65, 149, 150):
        parts = [
            kernels.softmax_attention(
                q[:, a:b], k[:, :b], v[:, :b], log_forget=f[:, :b], sink=s[0]
            )
            for a, b in ((0, cut), *((t, t + 1) for t in range(cut, 150)))
        ]  # fmt: skip
        y = np.concatenate(parts, 1)
        assert ratio(y, whole, 10 * abs(v).max() + 0 * y) <= gate(150)


@pytest.mark.parametrize(("M", "N"), [(3, 70), (70, 3), (66, 131), (2, 260), (0, 3), (3, 0)])
@pytest.mark.parametrize(("causal", "window"), [(1, 0), (1, 5), (0, 0)])
def test_gradients_of_other_queries_than_keys(M, N, causal, window):
    """The last queries of longer keys, more queries than keys, and those that see all keys."""
    torch = pytest.importorskip("torch")
    arrays = drawn(2, M, N, 4, 2, 3, 4, bias=True, forget=bool(causal), sink=True)
    inputs = [torch.tensor(x, requires_grad=True) for x in arrays]
    y, lse = reference.forward(*inputs, 0.7, causal, window)
    rng = np.random.default_rng(1)
    dy, dlse = rng.standard_normal(y.shape), rng.standard_normal(lse.shape)
    seen = torch.isfinite(lse)
    total = (y * torch.tensor(dy)).sum() + (lse[seen] * torch.tensor(dlse)[seen]).sum()
    wanted = torch.autograd.grad(total, inputs, allow_unused=True)
    dlse[~seen.numpy()] = 0
    kept = numba.forward(*arrays, 0.7, causal, window)
    found = numba.backward(*arrays, *kept, 0.7, causal, window, dy, dlse)
    for x, g, array in zip(found, wanted, arrays, strict=True):
        exact = np.zeros_like(array) if g is None else g.numpy()
        assert x.shape == exact.shape
        assert ratio(x, exact, 10 * abs(exact).max(initial=1e-300) + 0 * exact) <= gate(N)


# --------------------------------------------------------------------- bits
def test_a_batch_may_be_split_and_threads_change_no_bit(monkeypatch):
    arrays = drawn(3, 130, 200, 4, 2, bias=True, forget=True, sink=True)
    numbers = [0.7, 1, 0]
    y, lse = numba.forward(*arrays, *numbers)
    dy, dlse = np.random.default_rng(1).standard_normal((2, *y.shape))
    whole = y, lse, *numba.backward(*arrays, y, lse, *numbers, dy, dlse[..., 0])
    for b in range(3):
        part = [x[b : b + 1] for x in (*arrays, y, lse)]
        rest = dy[b : b + 1], dlse[b : b + 1, ..., 0]
        found = *numba.forward(*part[:6], *numbers), *numba.backward(*part, *numbers, *rest)
        assert all(np.array_equal(x, z[b : b + 1]) for x, z in zip(found, whole, strict=True))
    monkeypatch.setattr("dsf.kernels.compiled.SMALL", 0)
    monkeypatch.setattr("dsf.kernels.compiled.threads", lambda: 3)
    again = numba.forward(*arrays, *numbers)
    found = *again, *numba.backward(*arrays, *again, *numbers, dy, dlse[..., 0])
    assert all(map(np.array_equal, found, whole))


@pytest.mark.parametrize("simd", ["avx512", "avx2", pytest.param("none", marks=pytest.mark.slow)])
def test_every_width_of_vectors(simd, monkeypatch):
    arrays = drawn(1, 70, 70, 2, 2, 5, 9, forget=True)
    wanted = reference.forward(*arrays, 0.7, 1, 0)
    monkeypatch.setenv("DSF_SIMD", simd)
    agree(numba.forward(*arrays, 0.7, 1, 0), wanted, arrays, [0.7, 1, 0])


def test_arrays_of_any_strides():
    arrays = drawn(2, 70, 70, 2, 2, bias=True)
    y, lse = numba.forward(*arrays, 0.7, 1, 0)
    wide = [np.repeat(x, 2, axis=-1)[..., ::2] for x in arrays]
    turned = [np.asfortranarray(x) for x in arrays]
    for x in turned:
        x.flags.writeable = False
    for others in (wide, turned):
        again, sums = numba.forward(*others, 0.7, 1, 0)
        assert np.array_equal(again, y) and np.array_equal(sums, lse)


# --------------------------------------------------------------------- odd numbers
def test_large_logits_do_not_overflow():
    q, k, v, *rest = drawn(M=80, N=80, K=4)
    found = numba.forward(1e3 * q, 1e3 * k, v, *rest, 1.0, 1, 0)
    wanted = reference.forward(1e3 * q, 1e3 * k, v, *rest, 1.0, 1, 0)
    assert np.isfinite(found[0]).all()
    agree(found, wanted, [1e3 * q, 1e3 * k, v, *rest], [1.0, 1, 0])


def test_what_no_query_sees_does_not_reach_it():
    """NaN and infinity in a later key or value, or in one that has left the window."""
    arrays = drawn(1, 100, 100, 1, 1)
    for i in (1, 2):
        for bad in (np.nan, np.inf, -np.inf):
            odd = [x.copy() for x in arrays]
            odd[i][0, 70] = bad
            for causal, window in ((1, 0), (1, 9)):
                with np.errstate(invalid="ignore"):
                    wanted = reference.forward(*odd, 0.7, causal, window)[0]
                y = numba.forward(*odd, 0.7, causal, window)[0]
                assert np.array_equal(np.isnan(y), np.isnan(wanted))
                assert np.array_equal(np.isposinf(y), np.isposinf(wanted))
                fine = np.isfinite(wanted)
                assert ratio(y[fine], wanted[fine], 10 * abs(arrays[2]).max()) <= gate(100)
                assert np.isfinite(y[0, :70]).all()
                assert np.isfinite(y[0, 70 + window :]).all() == bool(window)


def test_gates_of_minus_infinity_forget_exactly():
    q, k, v, bias, f, sink = drawn(M=150, N=150, forget=True)
    f[0, 70], f[0, 71, 1] = -np.inf, -np.inf
    y, _ = numba.forward(q, k, v, bias, f, sink, 0.7, 1, 0)
    fresh, _ = numba.forward(
        q[:, 70:], k[:, 70:], v[:, 70:], bias[:, :, 70:], f[:, 70:], sink, 0.7, 1, 0
    )
    assert np.isfinite(y).all()
    assert ratio(y[:, 70:], fresh, 10 * abs(v).max() + 0 * fresh) <= gate(150)


def test_a_bias_of_minus_infinity_hides_a_key():
    q, k, v, bias, f, sink = drawn(M=6, N=6, bias=True)
    bias[..., 2], bias[0, 1, 4] = -np.inf, -np.inf
    y, lse = numba.forward(q, k, v, bias, f, sink, 0.7, 1, 0)
    z, exact = reference.forward(q, k, v, bias, f, sink, 0.7, 1, 0)
    agree((y, lse), (z, exact), [q, k, v, np.zeros(1)], [1])
    assert (y[0, 4, 1] == 0).all() and lse[0, 4, 1] == -np.inf


# --------------------------------------------------------------------- the front, and the core
def test_what_is_refused():
    q, k, v, *_ = drawn(H=3, G=2)
    with pytest.raises(ShapeError, match="2 heads of keys do not divide 3"):
        kernels.softmax_attention(q, k, v)
    q, k, v, *_ = drawn()
    for window in (0, 2.5):
        with pytest.raises(ShapeError, match=f"window counts tokens.*: {window}"):
            kernels.softmax_attention(q, k, v, window=window)
    with pytest.raises(DTypeError, match="complex logits"):
        kernels.softmax_attention(q + 1j, k, v)
    assert kernels.softmax_attention(q[..., :0], k[..., :0], v).shape == (*v.shape[:2], 2, 4)
    with pytest.raises(ShapeError, match="need causal=True"):
        kernels.softmax_attention(q, k, v, window=2, causal=False)
    with pytest.raises(KernelError, match=r"backend='torch' cannot run .* numpy's"):
        kernels.softmax_attention(q, k, v, backend="torch")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_torch_says_the_same(causal, biased):
    torch = pytest.importorskip("torch")
    q, k, v, bias, *_ = map(torch.tensor, drawn(2, 7, 7, 4, 2, bias=biased))
    given = {"bias": bias if biased else None, "causal": causal}
    found = kernels.softmax_attention(q, k, v, **given, backend="torch")
    assert kernels.last_backend() == "torch"
    wanted = kernels.softmax_attention(q, k, v, **given, backend="reference")
    assert ratio(found, wanted, 10 * float(v.abs().max()) + 0 * wanted) <= gate(7)
    with pytest.raises(KernelError, match="no window"):
        kernels.softmax_attention(q, k, v, window=2, backend="torch")
    with pytest.raises(KernelError, match="from the first key"):
        kernels.softmax_attention(q[:, :5], k, v, backend="torch")


@pytest.mark.parametrize("family", ["softmax", "window_softmax"])
def test_a_mechanism_streams_and_says_the_same(family, monkeypatch):
    mech = getattr(dsf, family).init(d=6, n=3, p=4, heads=2)
    u = np.random.default_rng(0).standard_normal((2, 150, 6))
    y = mech(u)
    assert kernels.last_backend() == "numba"
    first, state = mech.run(u[:, :90])
    second, _ = mech.run(u[:, 90:], state)
    monkeypatch.setattr(fast, "SMALL", 1 << 60)
    wanted = mech(u)
    for found in (y, np.concatenate([first, second], 1)):
        assert ratio(found, wanted, 10 * abs(wanted).max() + 0 * wanted) <= gate(150)


def test_a_mechanism_still_says_why_an_infinite_logit_is_refused():
    mech = dsf.softmax.init(d=6, n=3, p=4)
    u = np.random.default_rng(0).standard_normal((200, 6))
    with pytest.raises(OverflowingScanError, match="logit left the range"):
        mech(1e160 * u)


def test_no_array_of_all_weights_is_made():
    """20 000 tokens: their weights would take 3 GB."""
    mech = dsf.softmax.init(d=4, n=2, p=2)
    u = np.random.default_rng(0).standard_normal((20_000, 4)).astype(np.float32)
    assert np.isfinite(mech(u)).all()
