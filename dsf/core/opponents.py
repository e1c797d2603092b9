"""Opponents that are not a family: every recurrence with n states."""

from __future__ import annotations

from dataclasses import dataclass

from dsf.core.errors import ShapeError
from dsf.core.printing import n_states


@dataclass(frozen=True)
class AnyRecurrence:
    """Every recurrence with n real states per value channel, in statements "for no recurrence".

        h_t = A_t h_{t-1} + B_t ,   y_t = C_t h_t + D_t ,   h_t in R^n

    The coefficients may depend in any way on queries, keys and gates, past and present, and on the
    value of the current token, but not on earlier values.  `current_token_only=True` is the smaller
    class whose coefficients depend on the current token only: time does not matter to it.
    Raises ShapeError unless n is a positive integer.

    >>> recurrence(2)
    any recurrence with 2 states
    """

    n: int
    current_token_only: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 1:
            raise ShapeError(f"recurrence: n must be an integer of at least 1; got {self.n!r}")

    def __repr__(self) -> str:
        if not self.current_token_only:
            return f"any recurrence with {n_states(self.n)}"
        return f"any LTV with {n_states(self.n)} and coefficients from the current token"


def recurrence(n: int, *, current_token_only: bool = False) -> AnyRecurrence:
    """Every recurrence with n states per value channel, as the other side of `dsf.compare`.

    >>> recurrence(3)
    any recurrence with 3 states
    """
    return AnyRecurrence(n, current_token_only)
