"""The strategy on one input: how far two kernels are apart there, and how many states they need."""

from __future__ import annotations

from typing import Any

from dsf.core.errors import ShapeError
from dsf.core.kinds import Step
from dsf.core.mechanism import Mechanism
from dsf.states import Realization, realize, states_needed
from dsf.states.distance import distance
from dsf.verdicts.finding import Outcome
from dsf.verdicts.question import Question
from dsf.verdicts.rules import found, heads


def states_on_this_input(q: Question) -> Outcome:
    """Two-sided bounds: of the states for an error, and of the error with some states."""
    if not isinstance(q.left, Mechanism):
        raise ShapeError(
            "compare: with u= the first side must be a mechanism, whose kernel is asked"
        )
    need = _needed(q, q.left)
    best = realize(
        q.left.kernel(q.u),
        states=q.states,
        relative=q.tolerance.relative,
        time_limit=q.time_limit / 3,
    )
    counts = [need.certificate, best.certificate]
    if isinstance(q.right, Mechanism) and not isinstance(q.right, Step):
        other = _needed(q, q.right).certificate
        M, N = heads(need.certificate, other)
        apart = [distance(M, N)] if M.shape == N.shape else []
        counts = [*apart, *counts, other]
    finding = found("approximable", q.sides, counts)
    return Outcome((finding,), "two-sided bounds of the states needed")


def _needed(q: Question, mech: Any) -> Realization:
    tol = {"rtol" if q.tolerance.relative else "atol": q.tolerance.value}
    return states_needed(mech, q.u, **tol, time_limit=q.time_limit / 3)
