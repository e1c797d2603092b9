"""Every compiled structure against its reference: values, gradients, bits, and odd numbers."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf import kernels
from dsf.core.metrics import gate, ratio
from dsf.kernels import dispatch

numba = pytest.importorskip("numba")
import cases  # noqa: E402

from dsf.kernels import gradients  # noqa: E402
from dsf.kernels.linear import sweeps  # noqa: E402

EVERY = pytest.mark.parametrize("name", cases.STRUCTURES)
LENGTHS = (0, 1, 63, 65)


def both(structure: str):
    return [
        import_module(f"dsf.kernels.{structure}.{backend}").forward
        for backend in ("numba", "reference")
    ]


@EVERY
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("L", LENGTHS)
def test_values(name, dtype, L):
    structure, arrays, numbers = cases.case(name, L)
    arrays = cases.cast(arrays, dtype)
    exact = cases.cast(arrays, np.float64)
    fast, slow = both(structure)
    found, wanted = fast(*arrays, *numbers), slow(*exact, *numbers)
    scales = cases.sizes(structure, exact, numbers, slow)
    for x, y, scale in zip(found, wanted, scales, strict=True):
        assert x.dtype == dtype and x.shape == y.shape
        assert ratio(x, y, scale) <= gate(L)


@EVERY
@given(sizes=st.tuples(*[st.integers(1, 7)] * 5), seed=st.integers(0, 2**16))
def test_any_sizes(name, sizes, seed):
    L, B, H, K, V = sizes
    structure, arrays, numbers = cases.case(name, L, B, H, K, V, seed)
    fast, slow = both(structure)
    scales = cases.sizes(structure, arrays, numbers, slow)
    for x, y, s in zip(fast(*arrays, *numbers), slow(*arrays, *numbers), scales, strict=True):
        assert ratio(x, y, s) <= gate(L)


@EVERY
def test_states_wider_than_one_thread_takes(name):
    """Blocks of columns or channels, the last one narrower."""
    K, V = {"diagonal": (131, 1), "selective": (6, 650)}.get(name, (6, 131))
    structure, arrays, numbers = cases.case(name, L=6, B=1, H=1, K=K, V=V)
    fast, slow = both(structure)
    scales = cases.sizes(structure, arrays, numbers, slow)
    for x, y, s in zip(fast(*arrays, *numbers), slow(*arrays, *numbers), scales, strict=True):
        assert ratio(x, y, s) <= gate(6)


@given(L=st.integers(0, 10**7))
def test_chunks_of_gradients(L):
    """Whole turns of every forward pass, which keeps a state only where a turn begins, and few."""
    C = gradients.chunk_length(L)
    assert C >= 32 and C % 32 == 0 and L <= 256 * C
    for name in ("linear", "delta"):
        module = import_module(f"dsf.kernels.{name}.numba")
        assert module.spacing(L) % module.ROWS == 0


@EVERY
def test_complex_numbers_or_one_clear_refusal(name):
    structure, arrays, numbers = cases.case(name)
    turned = [x * np.exp(1j * np.arange(x.shape[-1])) for x in arrays]
    if structure != "diagonal":
        with pytest.raises(dispatch.KernelError, match="no kernel for complex128"):
            dispatch.run(structure, turned, numbers, "numba")
        return
    fast, slow = both(structure)
    for x, y in zip(fast(*turned), slow(*turned), strict=True):
        assert ratio(x, y, 4 * np.abs(y).max(), np.float64) <= gate(9)


# --------------------------------------------------------------------- bits
@EVERY
def test_a_batch_may_be_split(name):
    structure, arrays, numbers = cases.case(name, L=33, B=3)
    fast, _ = both(structure)
    y, S = fast(*arrays, *numbers)
    for b in range(3):
        part, last = fast(*[x[b : b + 1] for x in arrays], *numbers)
        assert np.array_equal(part, y[b : b + 1]) and np.array_equal(last, S[b : b + 1])


@EVERY
def test_the_number_of_threads_changes_no_bit(name, monkeypatch):
    K, V = (150, 1) if name == "diagonal" else (6, 150)
    structure, arrays, numbers = cases.case(name, L=40, B=1, H=1, K=K, V=V)
    module = import_module(f"dsf.kernels.{structure}.numba")
    rng = np.random.default_rng(1)
    y, S = module.forward(*arrays, *numbers)
    dy, dS = rng.standard_normal(y.shape), rng.standard_normal(S.shape)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("dsf.kernels.compiled.SMALL", 0)
        monkeypatch.setattr("dsf.kernels.compiled.threads", lambda n=threads: n)
        out, kept = cases.training(structure, arrays, numbers)
        found.append([*out, *kept, *module.backward(*arrays, *kept, *numbers, dy, dS)])
    for other in found[1:]:
        assert all(map(np.array_equal, found[0], other))


@EVERY
def test_a_sequence_may_be_cut_anywhere(name):
    """With the state handed on.  The sums are the same ones, so are the bits; linear attention and
    the delta rule take tokens in groups from the first one on, and have the same sums if no group
    is cut."""
    structure, arrays, numbers = cases.case(name, L=12)
    fast, slow = both(structure)
    y, S = fast(*arrays, *numbers)
    scales = cases.sizes(structure, arrays, numbers, slow)
    *rows, state = arrays
    per_token = [x.shape[1] in (12, 24) for x in rows]
    for cut in range(13):
        parts, last = [], state
        for ends in ((0, cut), (cut, 12)):
            piece = [
                x[:, slice(*[e * x.shape[1] // 12 for e in ends])] if timed else x
                for x, timed in zip(rows, per_token, strict=True)
            ]
            part, last = fast(*piece, last, *numbers)
            parts.append(part)
        for x, whole, scale in zip((np.concatenate(parts, 1), last), (y, S), scales, strict=True):
            if structure in ("linear", "delta") and cut % sweeps.STEPS:
                assert ratio(x, whole, scale) <= gate(12)
            else:
                assert np.array_equal(x, whole)


@EVERY
def test_arrays_of_any_strides(name):
    structure, arrays, numbers = cases.case(name)
    fast, _ = both(structure)
    y, S = fast(*arrays, *numbers)
    wide = [np.repeat(x, 2, axis=-1)[..., ::2] for x in arrays]
    turned = [np.asfortranarray(x) for x in arrays]
    fixed = [x.copy() for x in arrays]
    for x in fixed:
        x.flags.writeable = False
    for others in (wide, turned, fixed):
        again, last = fast(*others, *numbers)
        assert np.array_equal(again, y) and np.array_equal(last, S)
    assert all(map(np.array_equal, arrays, fixed))


@EVERY
def test_expanded_arrays(name):
    structure, arrays, numbers = cases.case(name, B=1)
    fast, _ = both(structure)
    y, S = fast(*arrays, *numbers)
    shared = [np.broadcast_to(x, (3, *x.shape[1:])) for x in arrays]
    again, last = fast(*shared, *numbers)
    assert np.array_equal(again, np.repeat(y, 3, 0)) and np.array_equal(last, np.repeat(S, 3, 0))


# --------------------------------------------------------------------- odd numbers
@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_go_where_the_formula_sends_them(name, bad):
    """And into no other head, also where more heads than take turns use the same memory."""
    structure, arrays, numbers = cases.case(name, L=6, B=4, H=5)
    fast, slow = both(structure)
    for i in range(len(arrays)):
        changed = [x.copy() for x in arrays]
        changed[i].flat[changed[i].size // 2] = bad
        with np.errstate(all="ignore"):
            wanted = slow(*changed, *numbers)
        for x, y in zip(fast(*changed, *numbers), wanted, strict=True):
            assert np.array_equal(np.isfinite(x), np.isfinite(y))
            assert np.array_equal(np.isnan(x), np.isnan(y))


DECAYS = {"linear": 3, "delta": 4, "low_rank": 3, "diagonal": 0}  # where they stand


@pytest.mark.parametrize("name", [x for x in cases.STRUCTURES if x.split()[0] in DECAYS])
@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, 5e-324])
def test_decays_at_the_ends(name, decay):
    structure, arrays, numbers = cases.case(name, L=6)
    w = arrays[DECAYS[structure]]
    w[:, ::2] = decay
    fast, slow = both(structure)
    for x, y in zip(fast(*arrays, *numbers), slow(*arrays, *numbers), strict=True):
        assert ratio(x, y, 10 * np.abs(y).max()) <= gate(6)


@pytest.mark.parametrize("name", ["linear", "linear before"])
@pytest.mark.parametrize(
    ("powers", "state"),
    [((-200, -200, 0, 0), 250), ((200, 200, -200, -200), -250)],
    ids=["low", "high"],
)
def test_products_of_decays_outside_of_the_range(name, powers, state):
    """Those of two tokens are no floats; the states are, and have to be found token by token."""
    structure, arrays, numbers = cases.case(name, L=8)
    arrays[0][...], arrays[1][...], arrays[3][...] = 1, 0, 1
    arrays[3][:, :4] = 10.0 ** np.array(powers, float)[:, None, None]
    arrays[4] *= 10.0**state
    fast, slow = both(structure)
    for x, y in zip(fast(*arrays, *numbers), slow(*arrays, *numbers), strict=True):
        largest = np.abs(y).max(axis=tuple(range(2, y.ndim)), keepdims=True)
        assert np.isfinite(y).all() and (largest > 0).all()
        assert ratio(x, y, 10 * largest) <= gate(8)


def test_columns_do_not_know_what_is_refused_beside_them():
    """NaN in a column, whose block is computed token by token, before one that is narrower."""
    structure, arrays, numbers = cases.case("linear", L=8, B=1, H=1, K=6, V=131)
    fast, _ = both(structure)
    y, S = fast(*arrays, *numbers)
    arrays[2][0, 5, 0, 100] = np.nan
    z, T = fast(*arrays, *numbers)
    assert np.isnan(z).any()
    assert np.array_equal(z[..., 128:], y[..., 128:]) and np.array_equal(T[..., 128:], S[..., 128:])


def test_a_step_size_of_minus_infinity_forgets_exactly():
    structure, arrays, numbers = cases.case("selective", L=3)
    arrays[2][...] = -np.inf
    fast, _ = both(structure)
    y, _ = fast(*arrays, *numbers)
    x, _, _, B, C, _ = arrays
    assert ratio(y, x * (B * C).sum(-1, keepdims=True), np.abs(x) * 10) <= gate(1)


@pytest.mark.parametrize("where", [0, 5, 8, 11])
def test_what_is_infinite_in_some_tokens_of_a_group(where):
    """Products of keys with keys would make NaN of infinities, or the reverse; what is finite
    again after a closed gate goes on four tokens at a time."""
    for name, i in ((name, i) for name in ("delta", "delta channels") for i in range(5)):
        structure, arrays, numbers = cases.case(name, L=18, B=1, H=2)
        arrays[i][0, where, 1, ...] = np.inf
        arrays[4][0, 13, 1] = 0
        fast, slow = both(structure)
        with np.errstate(all="ignore"):
            wanted = slow(*arrays, *numbers)
        for x, y in zip(fast(*arrays, *numbers), wanted, strict=True):
            assert np.array_equal(np.isnan(x), np.isnan(y))
            assert np.array_equal(np.isinf(x), np.isinf(y))
            assert np.array_equal(x[np.isinf(y)], y[np.isinf(y)])


@pytest.mark.parametrize("name", ["delta", "delta channels"])
def test_a_head_of_nan_changes_no_bit_of_the_others(name, monkeypatch):
    """Nor of their gradients, also where they use its memory before or after it."""
    monkeypatch.setattr("dsf.kernels.compiled.SMALL", 1 << 62)  # one thread: heads share memory
    structure, arrays, numbers = cases.case(name, L=70, B=2, H=5)
    module = import_module(f"dsf.kernels.{structure}.numba")
    rng, (*_, v, _, _, S) = np.random.default_rng(1), arrays
    dy, dS = rng.standard_normal(v.shape), rng.standard_normal(S.shape)

    def everything(given):
        out, kept = cases.training(structure, given, numbers)
        return [*out, *module.backward(*given, *kept, *numbers, dy, dS)]

    wanted = everything(arrays)
    for b, h in ((0, 0), (1, 4)):
        changed = [x.copy() for x in arrays]
        changed[1][b, 9, h] = np.inf
        changed[-1][b, h] = np.nan
        for x, y in zip(everything(changed), wanted, strict=True):
            x, y = (np.moveaxis(z, 1 if z.shape[1] == 5 else 2, 1) for z in (x, y))
            assert np.array_equal(np.delete(x[b], h, 0), np.delete(y[b], h, 0))
            assert np.array_equal(x[1 - b], y[1 - b])


def test_keys_whose_products_leave_the_range():
    """1e25 in float32: k'k is no number there, beta k and S'k are."""
    structure, (q, k, v, beta, w, S), numbers = cases.case("delta", L=9)
    arrays = cases.cast([q, 1e25 * k, v, 0 * beta, w, 1e-20 * S], np.float32)
    fast, slow = both(structure)
    for x, y in zip(fast(*arrays, *numbers), slow(*arrays, *numbers), strict=True):
        assert np.isfinite(x).all() and ratio(x, y, 8 * np.abs(y).max()) <= gate(9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [127, 128, 300])
def test_channels_do_not_know_how_many_run_beside_them(channels, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    u, delta = rng.standard_normal((2, 2, 40, channels)).astype(dtype)
    A = -rng.uniform(1, 16, (channels, 3)).astype(dtype)
    B, C = rng.standard_normal((2, 2, 40, 3)).astype(dtype)

    def run(threads, some):
        # wide blocks where they are enough for the threads, narrow ones for many threads
        monkeypatch.setattr("dsf.kernels.compiled.threads", lambda: threads)
        return kernels.selective_scan(u[..., :some], abs(delta[..., :some]), A[:some], B, C)

    found = [run(1, channels), run(999, channels), run(1, 20)]
    assert kernels.last_backend() == "numba"
    for y, h in found:
        assert np.array_equal(y[..., :20], found[0][0][..., :20])
        assert np.array_equal(h[:, :20], found[0][1][:, :20])
    assert np.array_equal(found[0][0], found[1][0])
