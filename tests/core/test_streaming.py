"""Sequences in parts: the same outputs, memory for one part, and where a bad token stands."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import dsf
from dsf.core import border, ops
from dsf.core.authoring import LTV, Array, Diag, Recurrence, Tokens, col, row
from dsf.core.authoring import drawn as parameter
from dsf.core.catalogue import families
from dsf.core.errors import (
    DomainError,
    DSFError,
    DTypeError,
    NotContractive,
    OverflowingScanError,
    ShapeError,
)
from dsf.core.metrics import gate, ratio
from dsf.core.parts import in_parts

tokens = border.tokens


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


@pytest.mark.parametrize("name", ["gla", "mamba3", "gated_deltanet"])
def test_a_long_call_is_cut_into_parts(monkeypatch, name):
    mech, u = drawn(name)
    whole, end = mech.run(u)
    cuts = []
    monkeypatch.setattr("dsf.core.mechanism.CHUNK", 10)
    monkeypatch.setattr("dsf.core.parts.in_parts.__defaults__", (10, *in_parts.__defaults__[1:]))
    monkeypatch.setattr(border, "tokens", lambda m, u: cuts.append(len(u)) or tokens(m, u))
    y, state = mech.run(u)
    assert cuts == [10, 10, 10, 7] and state.t == end.t == 37
    assert np.allclose(y, whole, rtol=1e-12, atol=1e-13)
    again, _ = mech.run(u[:25], state)  # goes on from a state
    assert np.allclose(again, mech.run(u[:25], end)[0], rtol=1e-12, atol=1e-13)
    cuts.clear()
    mech.run(u[:20])
    assert cuts == [20]
    with pytest.raises(ShapeError, match=r"got \(37, 3\)"):
        mech(u[:, :3])


def test_a_long_call_names_the_mechanism_and_the_token(monkeypatch):
    mech, u = drawn("linear_attn")
    monkeypatch.setattr("dsf.core.mechanism.CHUNK", 10)
    monkeypatch.setattr("dsf.core.parts.in_parts.__defaults__", (10, *in_parts.__defaults__[1:]))
    u[23] *= 1e110
    with pytest.raises(OverflowingScanError, match=r"^linear_attn: at token 24 \(index 23\)"):
        mech(u)


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


# --------------------------------------------------------------------- one token at a time
@pytest.mark.parametrize("name", sorted(families()))
def test_a_stream_gives_what_the_whole_gives(name):
    mech, u = drawn(name, L=9)
    whole, end = mech.run(u)
    stream = dsf.Stream(mech)
    y = np.stack([stream(row) for row in u])
    assert ratio(y, whole, 10 * np.abs(whole).max() + 0 * whole) <= gate(9)
    assert stream.state.t == 9
    for x, wanted in zip(stream.state.arrays(), end.arrays(), strict=True):
        size = 10 * np.abs(wanted).max() + 0 * wanted.real
        assert ratio(x, wanted, size, wanted.real.dtype) <= gate(9)


def test_a_stream_goes_on_with_batches_and_other_inputs():
    mech, u = drawn()
    u = np.stack([u, 2 * u])
    _, state = mech.run(u[:, :5])
    stream = dsf.Stream(mech, state)
    y = [stream(u[:, t]) for t in range(5, 9)]
    assert np.allclose(np.stack(y, 1), mech(u)[:, 5:9], rtol=1e-12, atol=1e-13)
    assert dsf.Stream(mech)(u[:0, 0]).shape == (0, 4)
    with pytest.raises(ShapeError, match="batch axes"):
        stream(u[0, 0])
    with pytest.raises(ShapeError, match="d = 4"):
        stream(u[:, 0, :3])
    assert stream.state.t == 9


@pytest.mark.parametrize("name", ["gla", "mamba3", "window_softmax", "gru"])
def test_a_state_in_place(name):
    mech, u = drawn(name)
    _, state = mech.run(u[:8])
    held = state.arrays()
    stream = dsf.Stream(mech, state, inplace=True)
    y = np.stack([stream(row) for row in u[8:]])
    assert np.allclose(y, mech(u)[8:], rtol=1e-12, atol=1e-13)
    assert all(a is b for a, b in zip(held, stream.state.arrays(), strict=True))
    assert stream.state.t == 37


def test_a_stream_says_what_run_says_and_keeps_its_state():
    mech, u = drawn()
    stream = dsf.Stream(mech)
    stream(u[0])
    before = stream.state
    with pytest.raises(OverflowingScanError, match="1 of 1"):
        stream(1e300 * u[1])
    assert stream.state is before
    assert np.isnan(stream(np.nan * u[1])).all() and np.isnan(mech.run(np.nan * u[:1])[0]).all()


class Plain(Recurrence):
    """The input itself in the place of a gate, and S_t = S_{t-1} + f_t f_t' read before it."""

    spec = {"f": "L d in (0, 1)", "g": "L d"}
    has_heads = False
    w: Array = parameter("d", lambda rng, shape: np.ones(shape))

    def tokens(self, u):
        return Tokens(f=np.where(u > 1e100, 0.5, u * self.w), g=u)

    def recurrence(self, tok):
        B, C = col(tok.g), row(tok.f)
        return LTV(Diag(a=tok.f), B, C, read="before"), row(tok.g)


class Sums(Recurrence):
    """Reads the sum of the last three inputs, the current one included."""

    spec = {"f": "L d"}
    has_heads = False
    lookback = 2
    w: Array = parameter("d", lambda rng, shape: np.ones(shape))

    def tokens(self, u):
        return Tokens(f=u * self.w)

    def recurrence(self, tok):
        f = tok.f + tok.previous.f + tok.previous.previous.f
        return LTV(Diag(a=0 * f), col(f), row(0 * f + 1)), row(0 * f + 1)


@pytest.mark.parametrize(
    "mech", [Sums(w=np.ones(4)), dsf.retnet(rotation="qk").init(d=4, n=2)], ids=["rows", "retnet"]
)
def test_a_stream_of_more_rows_before_and_of_positions(mech):
    u = np.random.default_rng(0).standard_normal((9, 4))
    stream = dsf.Stream(mech)
    y = np.stack([stream(token) for token in u])
    assert np.allclose(y, mech(u), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bad", [-0.5, 1.5])
def test_a_later_token_that_leaves_its_domain(bad):
    stream, u = dsf.Stream(Plain(w=np.ones(3))), np.full(3, 0.5)
    stream(u), stream(u)
    with pytest.raises(DomainError, match="f leaves its domain"):
        stream(np.array([0.5, 0.5, bad]))
    assert stream.state.t == 2


def test_a_state_that_overflows_behind_finite_outputs():
    stream, u = dsf.Stream(Plain(w=np.ones(3))), np.full(3, 0.5)
    stream(u)
    before = stream.state
    with pytest.raises(OverflowingScanError):
        stream(np.array([0.5, 0.5, 1e200]))
    assert stream.state is before


class Loud(Recurrence):
    """Outputs, or a gate that is read through a sigmoid, leave the range of floats first."""

    spec = {"f": "L d", "g": "L d"}
    has_heads = False
    gain: float = 1.0
    w: Array = parameter("d", lambda rng, shape: np.ones(shape))

    def tokens(self, u):
        return Tokens(f=u * self.w, g=u * 1e200)

    def recurrence(self, tok):
        C = row(self.gain * ops.sigmoid(tok.g))
        return LTV(Diag(a=0 * tok.f), col(tok.f), C), row(0 * tok.f + 1)


@pytest.mark.parametrize("gain, big", [(1e308, 100.0), (1.0, 1e150)], ids=["output", "gate"])
def test_an_output_or_a_gate_that_overflows_before_a_finite_state(gain, big):
    mech = Loud(w=np.ones(3), gain=gain)
    stream, u = dsf.Stream(mech), np.full(3, 0.5)
    stream(u), stream(u)
    with pytest.raises(DSFError) as wanted, np.errstate(over="ignore"):
        mech.run(np.full((1, 3), big), stream.state)
    before = stream.state
    with pytest.raises(wanted.type), np.errstate(over="ignore"):
        stream(np.full(3, big))
    assert stream.state is before and stream._tape is not None


def test_a_later_token_of_another_dtype_and_batches_of_none():
    mech, u = drawn()
    stream, empty = dsf.Stream(mech), dsf.Stream(mech)
    stream(u[0])
    with pytest.raises(DTypeError, match="complex128"):
        stream(u[1].astype(complex))
    assert [empty(u[:0]).shape for _ in range(2)] == [(0, 4)] * 2


def test_only_the_first_token_is_checked_at_length(monkeypatch):
    """The fast step is taken: nothing else would tell."""
    mech, u = drawn()
    stream, calls = dsf.Stream(mech), []
    run = type(mech).run
    monkeypatch.setattr(type(mech), "run", lambda *a: calls.append(1) or run(*a))
    for token in u:
        stream(token)
    assert len(calls) == 1


def test_a_stream_of_tensors():
    torch = pytest.importorskip("torch")
    mech, u = drawn()
    layer = mech.to_torch().double().mech
    stream = dsf.Stream(layer)
    y = torch.stack([stream(row) for row in torch.tensor(u)])
    assert torch.allclose(y, torch.tensor(mech(u)), rtol=1e-11)


def test_a_stream_warns_as_run_does():
    """Keys that let the state grow, in a token after the first."""
    mech = dsf.deltanet(unit_keys=False).init(d=4, n=2, p=2, seed=0)
    small, large = 1e-3 * np.ones(4), 3 * np.ones(4)
    stream = dsf.Stream(mech)
    stream(small)
    for token in (lambda: stream(large), lambda: mech.run(large[None])):
        with pytest.warns(NotContractive, match="below -1"):
            token()
