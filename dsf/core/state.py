"""What `run` hands on from one part of a sequence to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsf.core import printing
from dsf.core.ops import Array
from dsf.core.tokens import Tokens


@dataclass(frozen=True, eq=False)
class State:
    """What `run` hands on: the recurrent state S, the tail of token rows, and the time t.

    >>> import dsf, numpy as np
    >>> _, state = dsf.gla.init(d=4, n=2, p=3).run(np.ones((5, 4)))
    >>> state.S.shape, state.t
    ((1, 2, 3), 5)
    """

    S: Any = None
    tail: Tokens | None = None
    t: int = 0

    def __repr__(self) -> str:
        S = "none" if self.S is None else printing.axes(self.S)
        return f"State(S={S}, tail={self.tail}, t={self.t})"

    def arrays(self) -> list[Array]:
        """The arrays that the state holds."""
        held = [] if self.S is None else [self.S]
        return held + ([] if self.tail is None else [x for _, x in self.tail.items()])
