"""Sequences in parts: the same outputs, memory for one part, and where a bad token stands."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import dsf
from dsf.core.errors import OverflowingScanError, ShapeError


def drawn(name="gla", L=37, dtype=np.float64):
    mech = dsf.family(name).init(d=4, seed=0)
    return mech, np.random.default_rng(0).standard_normal((L, 4)).astype(dtype)


@pytest.mark.parametrize(
    "name", ["gla", "mamba", "mamba3", "deltaproduct", "window_softmax", "gru"]
)
@pytest.mark.parametrize("chunk", [1, 5, 37, 100])
def test_parts_give_what_the_whole_gives(name, chunk):
    mech, u = drawn(name)
    whole, end = mech.run(u)
    y, state = dsf.simulate(mech, u, chunk=chunk)
    assert np.allclose(y, whole, rtol=1e-12, atol=1e-13) and state.t == end.t == 37


def test_it_goes_on_from_the_state_that_it_returned():
    mech, u = drawn()
    first, state = dsf.simulate(mech, u[:20], chunk=6)
    rest, _ = dsf.simulate(mech, u[20:], chunk=6, state=state)
    assert np.allclose(np.concatenate([first, rest]), mech(u), rtol=1e-12, atol=1e-13)


def test_iterables_functions_and_memory_maps(tmp_path):
    mech, u = drawn()
    pieces = (u[a:b] for a, b in ((0, 1), (1, 30), (30, 37)))
    seen: list[np.ndarray] = []
    dsf.simulate(mech, pieces, out=seen.append, chunk=8)
    assert [len(y) for y in seen] == [1, 8, 8, 8, 5, 7]
    np.save(tmp_path / "u.npy", u)
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float64, mech(u).shape)
    done: list[int] = []
    given = np.load(tmp_path / "u.npy", mmap_mode="r")
    y, _ = dsf.simulate(mech, given, out=out, chunk=16, progress=done.append)
    assert y is out and done == [16, 32, 37]
    assert np.allclose(out, mech(u), rtol=1e-12, atol=1e-13)
    assert np.array_equal(np.concatenate(seen), out) or np.allclose(np.concatenate(seen), out)


def test_no_tokens_and_one():
    mech, u = drawn()
    y, state = dsf.simulate(mech, u[:0])
    assert y.shape == mech(u[:0]).shape and state.t == 0
    assert dsf.simulate(mech, u[:1])[1].t == 1
    with pytest.raises(ShapeError, match="no part of u"):
        dsf.simulate(mech, iter(()))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"u": np.ones(3)}, r"u must be \[... L d\]"),
        ({"out": np.ones((37, 9))}, "do not fit"),
    ],
)
def test_what_does_not_fit(changed, match):
    mech, u = drawn()
    with pytest.raises(ShapeError, match=match):
        dsf.simulate(mech, **{"u": u, **changed})


def test_the_first_bad_token_is_counted_from_the_start():
    mech, u = drawn("linear_attn", L=30)
    u[23] *= 1e110  # values, keys and queries: the third power leaves float64
    with pytest.raises(OverflowingScanError, match=r"at token 24 \(index 23\)") as error:
        dsf.simulate(mech, u, chunk=10)
    assert error.value.index == 23
    y, state = dsf.simulate(mech, u[20:23], state=error.value.state)
    assert state.t == 23 and np.allclose(y, mech(u[:23])[20:], rtol=1e-12)


def test_memory_does_not_grow_with_the_sequence():
    mech, u = drawn(L=60)
    peaks = []
    for parts in (20, 200):
        tracemalloc.start()
        dsf.simulate(mech, (u for _ in range(parts)), out=lambda y: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_torch():
    torch = pytest.importorskip("torch")
    mech, u = drawn()
    layer = mech.to_torch().double()
    y, _ = dsf.simulate(layer, torch.tensor(u), chunk=10)
    assert torch.allclose(y.reshape(37, -1), torch.tensor(mech(u)).reshape(37, -1), rtol=1e-11)


def test_progress_on_the_error_stream(capsys):
    mech, u = drawn()
    dsf.simulate(mech, u, chunk=20, progress=True)
    assert "37 tokens" in capsys.readouterr().err
