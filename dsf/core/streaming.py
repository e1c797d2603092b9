"""Sequences one token at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.core import border, ops
from dsf.core.kinds import Recurrence
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.tape import Tape
from dsf.core.tokens import Tokens


class Stream:
    """A mechanism that is fed one token at a time: what `run` computes, at a fraction of its cost.

        stream = Stream(mech, state);   y = stream(u_t)     u_t [... d] -> y_t [...];  stream.state

    The first token is checked as `run` checks all of them.  After that a recurrence in numpy takes
    its step at once (its operations recorded, where S is all that is handed on); a token that
    leaves its domain, or a result that is not finite, goes through `run`, which says what is wrong
    and leaves `state` as it was.  Everything else always goes through `run`.  With `inplace` each
    new state overwrites the arrays of the one before; kept rows that have not reached their
    number, and those of softmax attention, still become new arrays.  Parameters must not be changed
    in place between tokens.  Raises what `run` raises.

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
        self._tape: Tape | None = None

    def __call__(self, u: Array) -> Array:
        row = u[..., None, :]
        given = self.state
        found = self._step(row) if self._known == (row.shape, row.dtype) else None
        if found is None:
            y, self.state = self.mech.run(row, self.state)
            if isinstance(self.mech, Recurrence) and isinstance(u, np.ndarray) and y.size:
                self._ready, entered = border.enter(self.mech, row)
                self._dtype, self._known = entered.dtype, (row.shape, row.dtype)
                self._tape = self._recorded(entered)
        else:
            y, self.state = found
        old, new = given.arrays(), self.state.arrays()
        if self.inplace and [x.shape for x in old] == [x.shape for x in new]:
            for place, x in zip(old, new, strict=True):
                place[...] = x
            self.state = State(given.S, given.tail, self.state.t)
        return y[..., 0, :]

    def _recorded(self, row: Array) -> Tape | None:
        """The operations of one token, where all that is handed on is S."""
        mech, (S, tail) = self._ready, (self.state.S, self.state.tail)
        if tail is not None or "pos" in mech.token_fields:
            return None

        def one(row: Array, S: Array) -> list[Array]:
            tok = mech.tokens(row)
            y, S, _ = self._stepped(tok, State(S))
            return [y, S, *(x for _, x in tok.items())]

        with np.errstate(all="ignore"):
            try:
                tape = Tape(one, row, S)
            except Exception:  # of any kind: what is tried may lie outside of the equations' domain
                return None
            self._names = mech.tokens(row).names
        return tape

    def _stepped(self, tok: Tokens, state: State) -> tuple[Array, Array, Tokens | None]:
        """(y [... 1 p], S, kept rows) of one token."""
        mech = self._ready
        tok, full = mech.behind(tok, state)
        ltv, X = mech.system_after(full, 1)
        S = state.S
        for t in range(X.shape[-3]):
            o, S = ltv.ready_step(t, S, X[..., t, :, :])
        return mech.merge(mech.readout(ops.expand(o, -3), tok)), S, mech.tail_of(full)

    def _step(self, row: Array) -> tuple[Array, State] | None:
        """One token by the same equations without their checks; None where one would speak."""
        mech, state, tail = self._ready, self.state, None
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self._tape is not None:
                y, S, *fields = self._tape(row, state.S)
                tok = Tokens(**dict(zip(self._names, fields, strict=True)))
            else:
                tok = mech.tokens(row.astype(self._dtype, copy=False))
            if not _inside(mech, tok):
                return None
            mech.validate(tok)
            if self._tape is not None:
                y, S = y.copy(), S.copy()  # the next token overwrites them
            else:
                y, S, tail = self._stepped(tok, state)
            if not math.isfinite(_sum(y) + _sum(S)):
                return None
        return y, State(S, tail, state.t + 1)


def _inside(mech: Any, tok: Tokens) -> bool:
    """Whether every field is finite and in its domain; False also where a sum overflows."""
    total = 0.0
    for name, x in tok.items():
        domain = mech.token_fields[name].domain
        total += _sum(x)
        # NaN fails every comparison
        if domain.low is not None and not np.minimum.reduce(x, None) >= domain.low:
            return False
        if domain.high is not None and not np.maximum.reduce(x, None) <= domain.high:
            return False
    return math.isfinite(total)


def _sum(x: Array) -> float:
    """The sum of all entries, or of their absolute values where they are complex."""
    return float(np.add.reduce(np.abs(x) if x.dtype.kind == "c" else x, None))
