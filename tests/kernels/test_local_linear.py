"""The streamed local linear attention against the formula, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf import kernels
from dsf.core.errors import (
    DomainError,
    DTypeError,
    IllConditionedError,
    ShapeError,
    UnknownNameError,
)
from dsf.core.metrics import gate, ratio
from dsf.solvers import local_linear_attention as dense

pytest.importorskip("numba")
import cases
from memory import REFS, peak

from dsf.kernels.local_linear import numba, reference


def drawn(B=1, M=5, N=5, H=2, G=1, K=3, V=4, seed=0, dtype=np.float64):
    normal = np.random.default_rng(seed).standard_normal
    shapes = (B, M, H, K), (B, N, G, K), (B, N, G, V)
    return [normal(shape).astype(dtype) for shape in shapes]


def sizes(arrays, numbers):
    """What rounding may do to the output: weights by the logits, slopes by how the fit is
    conditioned, |C + lam I| / lam with |C| at most the mean square of the keys."""
    _, ridge, by_mass, _ = numbers
    q, k, v = arrays
    lse = reference.forward(*arrays, *numbers)[1]
    lam = ridge if by_mass else ridge * np.exp(-lse[np.isfinite(lse)].max(initial=0))
    spread = (k * k).sum(-1).max(initial=0)
    terms = cases.logits(arrays, numbers) if q.size and k.size else 1
    return terms * (1 + spread / lam) * abs(v).max(initial=1e-300)


def agree(found, wanted, arrays, numbers):
    (y, lse), (z, exact) = found, wanted
    L = arrays[1].shape[1]
    assert np.array_equal(np.isfinite(lse), np.isfinite(exact))
    assert ratio(y, z, sizes(arrays, numbers) + 0 * z) <= gate(L)
    fine = np.isfinite(exact)
    terms = cases.logits(arrays, numbers) if fine.any() else 1
    assert ratio(lse[fine], exact[fine], terms + abs(exact[fine])) <= gate(L)


# --------------------------------------------------------------------- values
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("M", "N"), [(0, 0), (1, 1), (1, 64), (3, 0), (63, 63), (65, 130), (2, 260), (70, 6)]
)
@pytest.mark.parametrize("by_mass", [1.0, 0.0])
@pytest.mark.parametrize("causal", [1.0, 0.0])
def test_values(M, N, by_mass, causal, dtype):
    arrays = drawn(2, M, N, dtype=dtype)
    exact = [x.astype(np.float64) for x in arrays]
    numbers = [0.7, 0.5, by_mass, causal]
    found = numba.forward(*arrays, *numbers)
    assert found[0].dtype == found[1].dtype == dtype
    agree(found, reference.forward(*exact, *numbers), exact, numbers)


@settings(deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 9)] * 2, *[st.integers(1, 4)] * 5),
    tile=st.integers(1, 12), flags=st.tuples(st.booleans(), st.booleans()),
    ridge=st.sampled_from([0.1, 1.0, 10.0]), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_any_sizes_and_any_tile(sizes, tile, flags, ridge, seed):
    M, N, B, G, group, K, V = sizes
    arrays = drawn(B, M, N, G * group, G, K, V, seed)
    numbers = [0.7, ridge, *map(float, flags)]
    wanted = reference.forward(*arrays, *numbers)
    agree(numba.forward(*arrays, *numbers, tile=tile), wanted, arrays, numbers)


@pytest.mark.parametrize(("K", "dtype"), [(40, np.float32), (100, np.float64)])
@pytest.mark.parametrize("ridge", [10.0, 1e-3])
def test_conjugate_gradients_and_factors(K, dtype, ridge, monkeypatch):
    """Wide keys: at ridge 10 iterations hold; at 1e-3 rows do not, and factors take over."""
    arrays = drawn(1, 150, 150, 2, 1, K, 3, dtype=dtype)
    exact = [x.astype(np.float64) for x in arrays]
    numbers = [0.5 * K**-0.5, ridge, 1.0, 1.0]
    wanted = reference.forward(*exact, *numbers)
    found = numba.forward(*arrays, *numbers)
    agree(found, wanted, exact, numbers)
    monkeypatch.setattr(numba, "_limit", lambda K, dtype: 0)
    direct = numba.forward(*arrays, *numbers)
    agree(direct, wanted, exact, numbers)
    assert np.array_equal(direct[0][:, :64], found[0][:, :64]) == (ridge < 1)


def test_reference_numbers():
    """Made with numpy by the dense formula; ridge times the sum of the weights, scale 1/2."""
    x = np.random.default_rng(0).standard_normal((3, 12, 1, 4))
    rows = {
        0.1: (0.09423491, 0.07369078, 0.61114444, -0.45973838),
        1.0: (0.08210078, 0.24210558, 0.17978368, -0.15724517),
        10.0: (0.12122813, 0.31543118, -0.07178513, 0.02133854),
    }
    for ridge, row in rows.items():
        y = kernels.local_linear_attention(*x, ridge=ridge)
        assert np.allclose(y[11, 0], row, rtol=0, atol=5e-9)
    far = kernels.local_linear_attention(*x, ridge=1e9)[11, 0]
    softmax = (0.13100581, 0.32622350, -0.11777361, 0.05379427)
    assert np.allclose(far, softmax, rtol=0, atol=1e-7)
    normal = np.random.default_rng(0).standard_normal
    q, k, v, g = (normal((7, 1, n)) for n in (3, 3, 2, 2))
    y = kernels.local_linear_attention(q, k, v, ridge=0.7)
    assert np.allclose(y[6, 0], (0.61671505, -0.16698070), rtol=0, atol=5e-9)
    assert abs((g * y).sum() - 6.027022869013773) <= 1e-13


@pytest.mark.parametrize("ridge_times", ["weights", "one"])
@pytest.mark.parametrize("causal", [True, False])
def test_the_three_dense_forms(ridge_times, causal):
    q, k, v = drawn(1, 70, 70, 1, 1, 4, 3)
    options = {"ridge": 0.3, "ridge_times": ridge_times, "causal": causal}
    y = kernels.local_linear_attention(q, k, v, **options)[0, :, 0]
    for form in ("weights", "centred", "interpolation"):
        z = dense(q[0, :, 0], k[0, :, 0], v[0, :, 0], form=form, **options)
        assert np.allclose(y, z, rtol=0, atol=1e-10)


def test_affine_maps_are_exact_without_a_ridge():
    q, k, _ = drawn(1, 30, 90, 2, 2, 4)
    rng = np.random.default_rng(1)
    A, c = rng.standard_normal((4, 3)), rng.standard_normal(3)
    y = kernels.local_linear_attention(q, k, k @ A + c, ridge=0, causal=False)
    assert np.allclose(y, q @ A + c, rtol=0, atol=1e-9)


# --------------------------------------------------------------------- gradients
@pytest.mark.parametrize(("M", "N"), [(3, 70), (70, 3), (66, 131), (0, 3), (3, 0), (1, 1)])
@pytest.mark.parametrize(("by_mass", "causal"), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_gradients_of_other_queries_than_keys(M, N, by_mass, causal):
    """The last queries of longer keys, more queries than keys, and those that see all keys."""
    torch = pytest.importorskip("torch")
    arrays = drawn(2, M, N, 4, 2, 3, 4)
    numbers = [0.3, 2.0, by_mass, causal]
    inputs = [torch.tensor(x, requires_grad=True) for x in arrays]
    y, lse = reference.forward(*inputs, *numbers)
    rng = np.random.default_rng(1)
    dy, dlse = rng.standard_normal(y.shape), rng.standard_normal(lse.shape)
    seen = torch.isfinite(lse)
    dlse[~seen.numpy()] = 0
    total = (y * torch.tensor(dy)).sum() + (lse[seen] * torch.tensor(dlse)[seen]).sum()
    wanted = (
        torch.autograd.grad(total, inputs, allow_unused=True) if total.requires_grad else [None] * 3
    )
    _, kept = numba.forward(*arrays, *numbers)
    for tile in (0, 5):
        found = numba.backward(*arrays, kept, *numbers, dy, dlse, tile=tile)
        for x, g, array in zip(found, wanted, arrays, strict=True):
            exact = np.zeros_like(array) if g is None else g.numpy()
            assert x.shape == exact.shape
            assert ratio(x, exact, 20 * abs(exact).max(initial=1e-300) + 0 * exact) <= gate(N)


def test_finite_differences():
    """Along a random direction of all three inputs, with steps that halve: error of order 2."""
    arrays = drawn(1, 20, 20, 2, 1, 3, 2)
    rng = np.random.default_rng(2)
    along = [rng.standard_normal(x.shape) for x in arrays]
    dy = rng.standard_normal((1, 20, 2, 2))
    for by_mass in (1.0, 0.0):
        numbers = [0.5, 1.0, by_mass, 1.0]

        def value(t, numbers=numbers):
            moved = [x + t * d for x, d in zip(arrays, along, strict=True)]
            return float((dy * numba.forward(*moved, *numbers)[0]).sum())

        kept = numba.forward(*arrays, *numbers)[1]
        found = numba.backward(*arrays, kept, *numbers, dy, 0 * kept)
        exact = sum(float((g * d).sum()) for g, d in zip(found, along, strict=True))
        coarse, fine = ((value(h) - value(-h)) / (2 * h) - exact for h in (2e-3, 1e-3))
        assert abs(fine) <= 1e-3 * abs(exact) and 3.8 <= coarse / fine <= 4.2


# --------------------------------------------------------------------- bits
@pytest.mark.parametrize(("K", "dtype"), [(4, np.float64), (40, np.float32)])
def test_a_batch_may_be_split_and_threads_change_no_bit(K, dtype, monkeypatch):
    arrays = drawn(3, 130, 200, 4, 2, K, 3, dtype=dtype)
    numbers = [K**-0.5, 1.0, 1.0, 1.0]
    y, lse = numba.forward(*arrays, *numbers)
    rng = np.random.default_rng(1)
    dy, dlse = (rng.standard_normal(x.shape).astype(dtype) for x in (y, lse))
    whole = y, lse, *numba.backward(*arrays, lse, *numbers, dy, dlse)
    for b in range(3):
        part = [x[b : b + 1] for x in (*arrays, lse)]
        rest = dy[b : b + 1], dlse[b : b + 1]
        found = *numba.forward(*part[:3], *numbers), *numba.backward(*part, *numbers, *rest)
        assert all(np.array_equal(x, z[b : b + 1]) for x, z in zip(found, whole, strict=True))
    monkeypatch.setattr("dsf.kernels.compiled.SMALL", 0)
    monkeypatch.setattr("dsf.kernels.compiled.threads", lambda: 3)
    again = numba.forward(*arrays, *numbers)
    found = *again, *numba.backward(*arrays, again[1], *numbers, dy, dlse)
    assert all(map(np.array_equal, found, whole))


@pytest.mark.parametrize(
    ("simd", "dtype"),
    [
        ("avx512", np.float64), ("avx512", np.float32), ("avx2", np.float32),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in (
            ("avx2", np.float64), ("none", np.float64), ("none", np.float32)
        )),
    ],
)  # fmt: skip
def test_every_width_of_vectors(simd, dtype, monkeypatch):
    """Fits by factors, which are float64 whatever the dtype is, and by conjugate gradients."""
    monkeypatch.setenv("DSF_SIMD", simd)
    for K in (5, 100):
        arrays = drawn(1, 70, 70, 2, 2, K, 9, dtype=dtype)
        exact = [x.astype(np.float64) for x in arrays]
        numbers = [K**-0.5, 1.0, 1.0, 1.0]
        wanted = reference.forward(*exact, *numbers)
        agree(numba.forward(*arrays, *numbers), wanted, exact, numbers)


# --------------------------------------------------------------------- odd numbers
def test_large_logits_do_not_overflow():
    q, k, v = drawn(M=80, N=80, K=4)
    numbers = [1.0, 1.0, 1.0, 1.0]
    found = numba.forward(1e3 * q, k, v, *numbers)
    assert np.isfinite(found[0]).all()
    agree(found, reference.forward(1e3 * q, k, v, *numbers), [1e3 * q, k, v], numbers)


def test_a_ridge_beside_vanishing_weights_gives_softmax_attention():
    """ridge / sum of weights overflows: the slope is 0."""
    q, k, v = drawn(M=9, N=9)
    q, k = abs(q) + 1, -abs(k) - 1
    y = kernels.local_linear_attention(q, k, v, scale=1e3, ridge_times="one", ridge=1.0)
    z = kernels.softmax_attention(q, k, v, scale=1e3)
    assert ratio(y, z, 1e4 * abs(v).max() + 0 * z) <= gate(9)


def test_what_no_query_sees_does_not_reach_it():
    """NaN and infinity in a later key or value, in both ways to fit."""
    for K, dtype in ((3, np.float64), (40, np.float32)):
        arrays = drawn(1, 100, 100, 1, 1, K, dtype=dtype)
        for i in (0, 1, 2):
            for bad in (np.nan, np.inf, -np.inf):
                odd = [x.copy() for x in arrays]
                odd[i][0, 70] = bad
                y = kernels.local_linear_attention(*odd)
                assert np.isfinite(y[0, :70]).all()
                after = np.isfinite(y[0, 70:])
                assert not after[0].any() and after[1:].all() == (i == 0)
                with np.errstate(invalid="ignore"):
                    z = kernels.local_linear_attention(*odd, backend="reference")
                assert np.array_equal(np.isfinite(y), np.isfinite(z))


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_slope_that_is_not_determined(backend, dtype):
    q, k, v = drawn(1, 70, 70, 1, 1, 3, dtype=dtype)

    def run(k, **options):
        return kernels.local_linear_attention(q, k, v, backend=backend, **options)

    with pytest.raises(IllConditionedError, match="query 0, head 0, batch 0"):
        run(k, ridge=0)
    flat = k.copy()
    flat[..., 2] = flat[..., 0] - 2 * flat[..., 1]  # keys in a plane
    for keys in (flat, 0 * k, np.broadcast_to(k[:, :1], k.shape)):
        with pytest.raises(IllConditionedError, match="Raise the ridge"):
            run(keys, ridge=0, causal=False)
        assert np.isfinite(run(keys, ridge=0.1)).all()
    assert np.isfinite(run(k, ridge=0, causal=False)).all()
    torch = pytest.importorskip("torch")
    with pytest.raises(IllConditionedError):
        kernels.local_linear_attention(*map(torch.tensor, (q, k, v)), ridge=0, backend=backend)


def test_a_lost_ridge_is_refused_although_residuals_are_small():
    """Queries in the plane of the keys: conjugate gradients would find one of many slopes."""
    _, k, v = drawn(1, 130, 130, 1, 1, 40, dtype=np.float32)
    k = k * (np.arange(40) < 20)
    for ridge in (0, 1e-9):
        with pytest.raises(IllConditionedError, match="Raise the ridge"):
            kernels.local_linear_attention(k, k, v, ridge=ridge, causal=False)


# --------------------------------------------------------------------- the front
def test_what_is_refused():
    q, k, v = drawn(H=3, G=2)
    run = kernels.local_linear_attention
    with pytest.raises(ShapeError, match="2 heads of keys do not divide 3"):
        run(q, k, v)
    q, k, v = drawn()
    with pytest.raises(DTypeError, match="complex logits"):
        run(q + 1j, k, v)
    with pytest.raises(UnknownNameError, match="no ridge_times 'mass'"):
        run(q, k, v, ridge_times="mass")
    for ridge in (-1.0, np.nan, np.inf):
        with pytest.raises(DomainError, match="ridge must be a finite number"):
            run(q, k, v, ridge=ridge)


def test_prefill_then_one_by_one():
    """A cache of keys, and the queries of one call, of two, or one at a time."""
    q, k, v = drawn(M=150, N=150)
    run = kernels.local_linear_attention
    whole = run(q, k, v)
    for cut in (0, 1, 64, 149, 150):
        ends = ((0, cut), *((t, t + 1) for t in range(cut, 150)))
        y = np.concatenate([run(q[:, a:b], k[:, :b], v[:, :b]) for a, b in ends], 1)
        assert ratio(y, whole, 10 * abs(v).max() + 0 * y) <= gate(150)


@pytest.mark.skipif(not REFS.exists(), reason="only Linux tells the peak of a stretch of code")
def test_memory_grows_as_the_length(monkeypatch):
    """At 12000 tokens all weights would take 576 MB, and a K x K matrix for each token 49 MB."""
    monkeypatch.setattr("dsf.kernels.compiled.SMALL", 1 << 62)
    K, numbers = 32, [32**-0.5, 10.0, 1.0, 1.0]
    for L in (70, 4000, 12_000):
        arrays = drawn(1, L, L, 1, 1, K, K, dtype=np.float32)
        forward, (y, lse) = peak(lambda x=arrays: numba.forward(*x, *numbers))
        backward, _ = peak(lambda x=arrays, y=y, z=lse: numba.backward(*x, z, *numbers, y, z))
        linear = 4 * L * (64 + 10 * K)  # weights of one block; inputs, gradients, r and u
        assert L == 70 or max(forward, backward) <= linear + (6 << 20)  # compiled in the first
