"""Sequences in parts: long ones with memory for one part, and one token at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dsf.core import border, ops
from dsf.core.arrays import to_numpy
from dsf.core.errors import OverflowingScanError, ShapeError
from dsf.core.kinds import Recurrence
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.tokens import Tokens

CHUNK = 8192  # tokens


def simulate(
    mech: Mechanism,
    u: Array | Iterable[Array],
    *,
    chunk: int = CHUNK,
    state: State | None = None,
    out: Any = None,
    progress: bool | Callable[[int], object] = False,
) -> tuple[Any, State]:
    """Run a mechanism over a sequence of any length: (outputs, state after the last token).

        y_1, s_1 = mech.run(u[:chunk], state);   y_2, s_2 = mech.run(u[chunk:2 chunk], s_1);   ...

    u      [... L d], also a memory map, which is read a part at a time; or an iterable of such
           parts, of any lengths
    out    where outputs go: an array or memory map [... L p] to fill, a function that is called
           with every part, or None: an array in memory
    state  where an earlier call ended; what this one returns goes on from there
    progress   True for a line on the error stream, or a function of the tokens done so far

    Memory beyond u and the outputs is that of one part.  The outputs are those of `mech(u)`, to
    rounding.  Raises OverflowingScanError with the number of the first bad token, counted from the
    start of u; its `state` is the one before the part that failed.  ShapeError where parts or `out`
    do not fit.

    >>> import dsf
    >>> mech, u = dsf.gla.init(d=2), np.ones((10, 2))
    >>> y, state = simulate(mech, u, chunk=4)
    >>> bool(np.allclose(y, mech(u), rtol=1e-14)), state.t
    (True, 10)
    """
    if chunk < 1:
        raise ShapeError(f"simulate: chunk must be at least 1; got {chunk}")
    state, done, kept = State() if state is None else state, 0, []
    told, started = _teller(progress), time.monotonic()
    for part in _parts(u, chunk):
        try:
            y, after = mech.run(part, state)
        except OverflowingScanError as e:
            error = counted("simulate", e, done)
            error.state = state
            raise error from e
        length = part.shape[-2]
        if callable(out):
            out(y)
        elif out is None:
            kept.append(y)
        else:
            _written(out, y, done, length)
        state, done = after, done + length
        told(done, time.monotonic() - started)
    return (_joined(kept) if out is None else out), state


class Stream:
    """A mechanism that is fed one token at a time: what `run` computes, at a fraction of its cost.

        stream = Stream(mech, state);   y = stream(u_t)     u_t [... d] -> y_t [...];  stream.state

    The first token is checked as `run` checks all of them.  After that a recurrence in numpy takes
    its step at once; a token that leaves its domain, or a result that is not finite, goes through
    `run`, which says what is wrong and leaves `state` as it was.  Everything else always goes
    through `run`.  With `inplace` each new state overwrites the arrays of the one before; kept rows
    that have not reached their number, and those of softmax attention, still become new arrays.
    Raises what `run` raises.

    >>> import dsf
    >>> mech, u = dsf.gla.init(d=2), np.ones((3, 2))
    >>> stream = dsf.Stream(mech)
    >>> bool(np.allclose([stream(row) for row in u], mech(u), rtol=1e-14)), stream.state.t
    (True, 3)
    """

    def __init__(
        self, mech: Mechanism, state: State | None = None, *, inplace: bool = False
    ) -> None:
        self.mech, self.state, self.inplace = mech, State() if state is None else state, inplace
        self._known: tuple[Any, Any] | None = None  # shape and dtype that `run` has checked

    def __call__(self, u: Array) -> Array:
        row = u[..., None, :]
        given = self.state
        found = self._step(row) if self._known == (row.shape, row.dtype) else None
        if found is None:
            y, self.state = self.mech.run(row, self.state)
            if isinstance(self.mech, Recurrence) and isinstance(u, np.ndarray) and y.size:
                self._ready, entered = border.enter(self.mech, row)
                self._dtype, self._known = entered.dtype, (row.shape, row.dtype)
        else:
            y, self.state = found
        old, new = given.arrays(), self.state.arrays()
        if self.inplace and [x.shape for x in old] == [x.shape for x in new]:
            for place, x in zip(old, new, strict=True):
                place[...] = x
            self.state = State(given.S, given.tail, self.state.t)
        return y[..., 0, :]

    def _step(self, row: Array) -> tuple[Array, State] | None:
        """One token by the same equations without their checks; None where one would speak."""
        mech, state = self._ready, self.state
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            tok = mech.tokens(row.astype(self._dtype, copy=False))
            if not _inside(mech, tok):
                return None
            mech.validate(tok)
            tok, full = mech.behind(tok, state)
            ltv, X = mech.system_after(full, 1)
            S = state.S
            for t in range(X.shape[-3]):
                o, S = ltv.ready_step(t, S, X[..., t, :, :])
            y = mech.merge(mech.readout(ops.expand(o, -3), tok))
        if not (np.isfinite(y.sum()) and np.isfinite(S.sum())):
            return None
        return y, State(S, mech.tail_of(full), state.t + 1)


def _inside(mech: Any, tok: Tokens) -> bool:
    """Whether every field is finite and in its domain."""
    for name, x in tok.items():
        domain = mech.token_fields[name].domain
        least, most = x.min(), x.max()  # NaN fails every comparison
        if not (least > -np.inf if domain.low is None else least >= domain.low):
            return False
        if not (most < np.inf if domain.high is None else most <= domain.high):
            return False
    return True


def _parts(u: Any, chunk: int) -> Iterator[Any]:
    """Parts of at most `chunk` tokens, each an array of its own in memory."""
    whole = [u] if hasattr(u, "shape") else u
    for piece in whole:
        if not hasattr(piece, "shape") or len(piece.shape) < 2:
            raise ShapeError(
                f"simulate: u must be [... L d] or an iterable of such parts; got "
                f"{getattr(piece, 'shape', type(piece).__name__)}"
            )
        for start in range(0, max(piece.shape[-2], 1), chunk):
            part = piece[..., start : start + chunk, :]
            yield np.array(part) if isinstance(part, np.ndarray) else part


def _written(out: Any, y: Any, start: int, length: int) -> None:
    place = out[..., start : start + length, :]
    if place.shape != y.shape:
        raise ShapeError(
            f"simulate: out has shape {out.shape}, and outputs {list(y.shape)} for the tokens "
            f"{start} .. {start + length - 1} do not fit. It must be [... L p] like mech(u)."
        )
    out[..., start : start + length, :] = y if isinstance(y, type(out)) else to_numpy(y)


def _joined(parts: list[Any]) -> Any:
    if not parts:
        raise ShapeError("simulate: no part of u was given")
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, -2)
    import torch

    return torch.cat(parts, -2)


def counted(who: str, e: OverflowingScanError, done: int) -> OverflowingScanError:
    """The same error, counted from the start of the whole sequence."""
    index = None if e.index is None else done + e.index
    where = f"after token {done}" if index is None else f"at token {index + 1} (index {index})"
    return OverflowingScanError.at(index, f"{who}: {where} of the whole sequence: {e}")


def _teller(progress: bool | Callable[[int], object]) -> Callable[[int, float], object]:
    if callable(progress):
        return lambda done, _: progress(done)
    if not progress:
        return lambda done, _: None

    def line(done: int, seconds: float) -> None:
        sys.stderr.write(f"\r{done} tokens, {done / max(seconds, 1e-9):.3g} per second")
        sys.stderr.flush()

    return line
