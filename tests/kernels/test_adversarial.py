"""The public kernels on bad inputs, from threads and in forked processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dsf import kernels
from dsf.core.metrics import gate, ratio

numba = pytest.importorskip("numba")


def given(L=20, B=(2,), dtype=np.float64, seed=0):
    """The arguments of every front, by its name."""
    rng = np.random.default_rng(seed)
    normal, H, K, V = rng.standard_normal, 2, 3, 5
    q, k = normal((2, *B, L, H, K)).astype(dtype)
    k = k / np.linalg.norm(k.astype(np.float64), axis=-1, keepdims=True).astype(dtype)
    v, g = normal((*B, L, H, V)).astype(dtype), -rng.uniform(0, 1, (*B, L, H)).astype(dtype)
    beta, full = rng.uniform(0, 1, (*B, L, H)).astype(dtype), -rng.uniform(0, 1, q.shape)
    u, delta = normal((*B, L, V)).astype(dtype), rng.uniform(0.01, 1, (*B, L, V)).astype(dtype)
    A, (b, c) = -rng.uniform(0.1, 2, (V, K)).astype(dtype), normal((2, *B, L, K)).astype(dtype)
    return {
        "linear_attention": [q, k, v, g], "delta_rule": [q, k, v, beta, full.astype(dtype)],
        "low_rank_rule": [q, k, v, -k, k * beta[..., None], g], "scan": [np.exp(full[..., 0]), g],
        "selective_scan": [u, delta, A, b, c], "softmax_attention": [q, k, v],
        "local_linear_attention": [q, k, v],
    }  # fmt: skip


NAMES = tuple(given())
EVERY = pytest.mark.parametrize("name", NAMES)


def outputs(name, arrays, **options):
    found = getattr(kernels, name)(*arrays, **options)
    return [found] if isinstance(found, np.ndarray) else list(found)


def same(found, wanted):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(found, wanted, strict=True))


@EVERY
@pytest.mark.parametrize(("L", "B"), [(0, (2,)), (0, ()), (5, (0,)), (1, ()), (1, (1, 1))])
def test_nothing_and_one(name, L, B):
    arrays = given(L, B)[name]
    for x, y in zip(outputs(name, arrays), outputs(name, arrays, backend="reference"), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        assert ratio(x, y, 10 + abs(y)) <= gate(1)


@EVERY
def test_odd_memory_gives_the_same_bits_and_is_left_alone(name):
    arrays = given()[name]
    wanted = outputs(name, arrays)
    turned = [x[..., ::-1].copy()[..., ::-1] for x in arrays]  # negative strides
    fixed = [np.asfortranarray(x) for x in arrays]
    for x in fixed:
        x.flags.writeable = False
    before = [x.tobytes() for x in turned]
    assert same(outputs(name, turned), wanted) and same(outputs(name, fixed), wanted)
    assert [x.tobytes() for x in turned] == before


@EVERY
def test_overlapping_rows(name):
    """Every token the same memory."""
    arrays = [x if x.ndim == 2 else np.broadcast_to(x[:, :1], x.shape) for x in given()[name]]
    assert same(outputs(name, arrays), outputs(name, [x.copy() for x in arrays]))


@pytest.mark.parametrize("name", ["linear_attention", "delta_rule", "low_rank_rule"])
@pytest.mark.parametrize("tiny", [1e-310, 1e-300])
def test_small_values_are_not_flushed(name, tiny):
    """The kernels are linear in the values: what is tiny stays, to the spacing of subnormals."""
    q, k, v, *rest = given()[name]
    y, _ = outputs(name, [q, k, v, *rest])
    small, _ = outputs(name, [q, k, tiny * v, *rest])
    assert (small != 0).any()
    assert np.abs(small - tiny * y).max() <= 1e3 * max(5e-324, 2e-16 * tiny)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_of_decays_below_the_range(dtype):
    """0.5^2000 is no number of either dtype, and no quotient of such products is made."""
    q, k, v, g = given(2000, (1,), dtype)["linear_attention"]
    g = np.full_like(g, np.log(0.5))
    y, S = kernels.linear_attention(q, k, v, g)
    exact = [x.astype(np.float64) for x in (q, k, v, g)]
    z, T = kernels.linear_attention(*exact, backend="reference")
    assert np.isfinite(y).all()
    assert ratio(y, z, 100 + 0 * z) <= gate(2000) and ratio(S, T, 100 + 0 * T) <= gate(2000)


@pytest.mark.parametrize("name", ["linear_attention", "delta_rule"])
def test_a_closed_gate_forgets_a_finite_state_and_keeps_nan(name):
    q, k, v, *rest = given(6, (1,))[name]
    rest[-1] = rest[-1].copy()
    rest[-1][:, 3] = -np.inf
    state = np.full((1, 2, 3, 5), 1e100)
    y, _ = outputs(name, [q, k, v, *rest, state])
    fresh, _ = outputs(name, [x[:, 3:] for x in (q, k, v, *rest)])
    assert ratio(y[:, 3:], fresh, 10 + abs(fresh)) <= gate(6)
    state[...] = np.nan
    assert np.isnan(outputs(name, [q, k, v, *rest, state])[0]).all()  # 0 NaN is NaN


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_logits_beyond_half_precision(dtype):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 70, 1, 4))
    q, k = (120 * q).astype(dtype), (120 * k).astype(dtype)  # products above 65504
    y = kernels.softmax_attention(q, k, v.astype(dtype))
    exact = [x.astype(np.float64) for x in (q, k, v.astype(dtype))]
    z = kernels.softmax_attention(*exact, backend="reference")
    assert y.dtype == dtype and np.isfinite(y).all()
    logits = np.einsum("blhk,bmhk->bhlm", exact[0], exact[1])
    assert np.abs(logits).max() > 65504 / 2
    error = np.finfo(np.float32).eps * np.abs(logits).max() + 2 * np.finfo(dtype).eps
    assert np.abs(y - z).max() <= 4 * error * np.abs(v).max()


@EVERY
def test_threads_of_python(name):
    many = [given(seed=i)[name] for i in range(6)]
    wanted = [outputs(name, arrays) for arrays in many]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda arrays: outputs(name, arrays), many * 3))
    assert all(same(x, y) for x, y in zip(found, wanted * 3, strict=True))


def _in_a_child(name, queue):
    queue.put([x.tobytes() for x in outputs(name, given(64)[name])])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_forked_processes(monkeypatch):
    """After threads of a kernel have run: a child that waited for one of them would hang."""
    monkeypatch.setattr("dsf.kernels.compiled.SMALL", 0)
    monkeypatch.setattr("dsf.kernels.compiled.threads", lambda: 2)
    context = multiprocessing.get_context("fork")
    for name in ("linear_attention", "softmax_attention", "local_linear_attention"):
        wanted = [x.tobytes() for x in outputs(name, given(64)[name])]
        queue = context.SimpleQueue()
        child = context.Process(target=_in_a_child, args=(name, queue))
        child.start()
        child.join(60)
        assert child.exitcode == 0 and queue.get() == wanted


@pytest.mark.slow
def test_spawned_processes():
    arrays = given(64)["scan"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(kernels.scan, arrays)
    assert same(found, kernels.scan(*arrays))
