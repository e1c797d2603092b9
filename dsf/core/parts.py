"""Long sequences in parts: with memory for one part, the state handed on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dsf.core.arrays import to_numpy
from dsf.core.errors import OverflowingScanError, ShapeError
from dsf.core.ops import Array
from dsf.core.state import State

CHUNK = 8192  # tokens


def simulate(
    mech: Any,
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
    return in_parts("simulate", mech, u, chunk, state, out, _teller(progress))


def in_parts(
    who: str,
    mech: Any,
    u: Array | Iterable[Array],
    chunk: int = CHUNK,
    state: State | None = None,
    out: Any = None,
    told: Callable[[int, float], object] = lambda done, seconds: None,
) -> tuple[Any, State]:
    """`simulate`, with a name before messages, and a function of the tokens and seconds so far."""
    state, done, kept = State() if state is None else state, 0, []
    started = time.monotonic()
    for part in _parts(u, chunk):
        try:
            y, after = mech.run(part, state)
        except OverflowingScanError as e:
            error = counted(who, e, done)
            error.state = state
            raise error from e
        length = part.shape[-2]
        if out is None and isinstance(y, np.ndarray) and hasattr(u, "shape"):
            out = np.empty((*y.shape[:-2], u.shape[-2], y.shape[-1]), y.dtype)
        if callable(out):
            out(y)
        elif out is None:
            kept.append(y)
        else:
            _written(out, y, done, length)
        state, done = after, done + length
        told(done, time.monotonic() - started)
    return (_joined(kept) if out is None else out), state


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
