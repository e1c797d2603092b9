"""Stretches of a sequence apart from each other: their elements, and what state they add up to.

    S_out = A S_in + b,   A = A_L ... A_1,   b = the last state from S_in = 0

Two runs of the recurrence give both, by kernels where it is long; `LTV.element`, which composes
single steps, is the slow twin.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np

from dsf.core import ops
from dsf.core.arrays import common_zero, full_precision
from dsf.core.checks import all_finite
from dsf.core.errors import OverflowingScanError
from dsf.core.ops import Array
from dsf.core.system import LTV, Element
from dsf.core.transition import Dense, Diag, LowRank, Transition


@full_precision
def element(ltv: LTV, X: Array) -> Element:
    """The element of all steps of a system with the input X [... L m p], also of none.

    b [... n p].  A is a Diag [... n|1] of diagonal systems; of low-rank ones a LowRank while its
    rank, which grows with every step, is below n/2, for beyond a matrix is smaller; else a Dense.
    Raises OverflowingScanError where b or the product of the transitions is out of range.

    >>> import dsf, numpy as np
    >>> ltv, X = dsf.gla.init(d=2, n=2).system_on(np.ones((5, 2)))
    >>> whole, slow = element(ltv, X), ltv.element(0, 5, X)
    >>> bool(np.allclose(whole.b, slow.b)), bool(np.allclose(whole.A.values(), slow.A.values()))
    (True, True)
    """
    b = _typed(ltv, ltv.scan(X)[1])
    return Element(_transition(ltv, X.shape[-3], ops.real(b)), b)


def _typed(ltv: LTV, S: Array) -> Array:
    """A state in the common dtype of the coefficients, also after no steps: complex where A is."""
    return S + common_zero(*ltv.arrays())


def _transition(ltv: LTV, L: int, like: Array) -> Transition:
    n, A = ltv.n, ltv.A
    if isinstance(A, Diag) or not L:
        a = _carried(ltv, L, ops.ones((n, 1), like))[..., 0]
        return Diag(a=a[..., :1] if n and A.structure == "scalar" else a, size=n)
    if isinstance(A, LowRank) and 2 * A.rank * L < n:
        every = A.expanded().map(ltv.promote)
        return reduce(lambda done, t: every.at(t) @ done, range(1, L), every.at(0))
    return Dense(_carried(ltv, L, ops.eye(n, like)))


def _carried(ltv: LTV, L: int, S: Array) -> Array:
    """A_L ... A_1 S for S [n k]: the last state of the system without input."""
    S = ops.broadcast_to(S, (*ltv.batch, *S.shape[-2:]))
    still = LTV(ltv.A, ops.zeros((1, ltv.n, 1), S), ops.zeros((1, 1, ltv.n), S), steps=L)
    try:
        return _typed(ltv, still.scan(ops.zeros((L, 1, S.shape[-1]), S), S)[1])
    except OverflowingScanError as e:
        raise OverflowingScanError.at(
            e.index,
            f"the product of the transitions of {L} steps leaves the range of {S.dtype} at step "
            f"{None if e.index is None else e.index + 1}, so this stretch cannot be summed up "
            "apart from what precedes it. Likely cause: transitions above 1 in norm. Use gates in "
            "(0, 1], or run the sequence in order: dsf.simulate.",
        ) from None


@full_precision
def fold(elements: Iterable[Element]) -> Array:
    """The state [... n p] after stretches that follow each other from the state 0.

        S_1 = b_1,   S_k = A_k S_{k-1} + b_k

    At least one is needed.  Raises OverflowingScanError where a state is not finite although every
    element is.

    >>> import numpy as np
    >>> half = Element(Diag(a=np.array([0.5])), np.ones((1, 1)))
    >>> fold([half, half, half])
    array([[1.75]])
    """
    first, *rest = elements
    S = first.b
    with np.errstate(over="ignore", invalid="ignore"):
        for e in rest:
            S = e.A.apply(S) + e.b
    parts = [first.b, *(x for e in rest for x in (*e.A.arrays(), e.b))]
    if ops.readable(S) and not bool(all_finite(S)) and all(bool(all_finite(x)) for x in parts):
        raise OverflowingScanError(
            f"the state after {1 + len(rest)} stretches left the range of {S.dtype}, although each "
            "of them is finite. Likely cause: transitions above 1 in norm, or huge inputs."
        )
    return S
