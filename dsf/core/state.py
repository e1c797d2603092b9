"""What `run` hands on from one part of a sequence to the next."""

from __future__ import annotations

from collections.abc import Callable
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

    def map(self, f: Callable[[Array], Array]) -> State:
        """f applied to every array: another library, dtype or device.

        >>> import dsf, numpy as np
        >>> _, state = dsf.gla.init(d=4).run(np.ones((5, 4)))
        >>> state.map(np.float32).S.dtype
        dtype('float32')
        """
        S = None if self.S is None else f(self.S)
        return State(S, None if self.tail is None else self.tail.map(f), self.t)

    def detach(self) -> State:
        """The state cut off from the graph of torch that made it, for truncated backpropagation."""
        return self.map(lambda x: x.detach())

    def to(self, *where: Any, **more: Any) -> State:
        """`tensor.to(...)` of every array: a device or a dtype of torch."""
        return self.map(lambda x: x.to(*where, **more))

    def arrays(self) -> list[Array]:
        """The arrays that the state holds."""
        held = [] if self.S is None else [self.S]
        return held + ([] if self.tail is None else [x for _, x in self.tail.items()])
