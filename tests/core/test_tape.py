"""Operations that are recorded and repeated: what is seen, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core import ops
from dsf.core.authoring import LTV, Array, Diag, Recurrence, Tokens, col, row, split_heads
from dsf.core.authoring import drawn as parameter
from dsf.core.errors import DomainError
from dsf.core.tape import NotRecorded, Tape


def drawn(seed, *shapes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


SEEN = {
    "ufuncs": lambda x, y: [np.exp(x) + y, -x, x**2],
    "products": lambda x, y: [x @ y.T, y.T @ x],
    "reductions": lambda x, y: [x.sum(), x.max(-1, keepdims=True), np.cumsum(y, 0)],
    "views": lambda x, y: [np.moveaxis(x, 0, 1) + y.T, x[1:, ::2] * 2, x[..., None].swapaxes(0, 1)],
    "copies": lambda x, y: [(x.T.reshape(-1) + 1).reshape(2, -1), x[[1, 0]], x.astype(np.float32)],
    "functions": lambda x, y: [np.where(x > 0, x, y), np.concatenate([x, y], 1), np.stack([x, y])],
    "several": lambda x, y: [a * 2 for a in np.broadcast_arrays(x, y[:1])],
    "equations": lambda x, y: [ops.sigmoid(x), ops.softplus(y), ops.normalise(x), ops.elu1(y)],
    "an input": lambda x, y: [x, y.T],
    "a constant": lambda x, y: [np.ones(2), x],
}


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 2**16))
def test_the_repetition_gives_what_the_function_gives(name, dtype, seed):
    f = SEEN[name]
    tape = Tape(f, *drawn(0, (2, 4), (2, 4), dtype=dtype))
    x, y = drawn(seed, (2, 4), (2, 4), dtype=dtype)
    for found, wanted in zip(tape(x, y), f(x, y), strict=True):
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        assert np.allclose(found, wanted, rtol=1e-6)


def test_no_entries_and_one():
    for n in (0, 1):
        tape = Tape(lambda x: [np.exp(x) @ x], np.zeros(n))
        (x,) = drawn(0, n)
        assert np.allclose(tape(x)[0], np.exp(x) @ x)


def changed(x):
    x += 1
    return [x]


REFUSED = {
    "a branch": (lambda x: [x if x.sum() > 0 else -x], "looked at"),
    "a number": (lambda x: [x * float(x[0])], "looked at"),
    "an entry": (lambda x: [x * x[0].item()], "looked at"),
    "in place": (changed, "in place"),
    "solved": (lambda x: [np.linalg.solve(np.eye(3) * (1 + x[0] ** 2), x)], "solved"),
    "missed": (lambda x: [np.asarray(x) + 1], "does not give"),
    "several results": (lambda x: list(np.divmod(x, 2)), "several"),
    "several arrays": (lambda x: list(np.unique(x, return_counts=True)), "several"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_recorded(name):
    f, match = REFUSED[name]
    with pytest.raises(NotRecorded, match=match):
        Tape(f, np.ones(3))


def test_nothing_is_checked_while_recording():
    seen = []
    Tape(lambda x: [seen.append(ops.readable(x)) or x + 1], np.ones(2))
    assert seen == [False, True, True]  # recorded, then tried twice


RECORDED = (
    "deltanet", "deltaproduct", "gated_deltanet", "gla", "linear_attn", "lru", "mamba", "mamba2",
    "mlstm", "normalised_attn", "normalised_linear_attn", "qlstm", "retnet", "rglru", "rwkv6",
    "s4d",
)  # fmt: skip


@pytest.mark.parametrize("name", [*RECORDED, "mesa", "mamba3", "gru", "softmax"])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_streams_are_recorded_and_their_results_stay(name, lead):
    mech, (u,) = dsf.family(name).init(d=4, seed=0), drawn(1, (*lead, 9, 4))
    stream = dsf.Stream(mech)
    ys, states = [], []
    for t in range(9):
        ys.append(stream(u[..., t, :]))
        states.append(stream.state)
    assert (stream._tape is not None) == (name in RECORDED)
    assert np.allclose(np.stack(ys, -2), mech(u), rtol=1e-12, atol=1e-13)
    for t, state in enumerate(states):  # later tokens have overwritten nothing
        wanted = mech.run(u[..., : t + 1, :])[1]
        for x, y in zip(state.arrays(), wanted.arrays(), strict=True):
            assert np.allclose(x, y, rtol=1e-12, atol=1e-13)


class Picky(Recurrence):
    """A user's own, whose equations refuse what no input of his gives."""

    w: Array = parameter("d", lambda rng, shape: rng.standard_normal(shape))
    spec = {"k": "L 1"}

    def tokens(self, u):
        if np.asarray(u).min() < 0:
            raise ValueError("negative")
        return Tokens(k=split_heads(u * self.w)[..., :1])

    def recurrence(self, tok):
        k = col(tok.k)
        return LTV(Diag(a=np.ones((1, 1)) / 2), B=k, C=row(tok.k)), row(tok.k)


def test_what_is_tried_does_not_reach_the_user():
    mech = Picky(w=np.ones(2))
    stream = dsf.Stream(mech)
    u = np.arange(6.0).reshape(3, 2)
    assert np.allclose([stream(x) for x in u], mech(u), rtol=1e-14) and stream._tape is None


def test_a_normaliser_that_vanishes_is_found():
    mech = replace(dsf.normalised_linear_attn.init(d=2, n=2, p=2, seed=0), phi="identity")
    stream, u = dsf.Stream(mech), np.ones(2)
    stream(u), stream(u)
    assert stream._tape is not None
    stream(-u)
    before = stream.state
    with pytest.raises(DomainError, match="the normaliser is exactly 0"):
        stream(-u)
    assert stream.state is before


def test_the_same_operation_is_done_once():
    """Only the same: of the same memory seen in another order, or along another axis, it is not."""

    def f(x):
        sums = [np.add.reduce(x, axis=axis) for axis in (0, 1, 0)]
        return [np.exp(x), np.exp(x.T), np.exp(x), x * 2, x * 3.0, x * 2, *sums]

    tape, x = Tape(f, np.zeros((2, 2))), np.arange(4.0).reshape(2, 2)
    assert all(map(np.array_equal, tape(x), f(x)))
    assert len(tape._calls) == 6
