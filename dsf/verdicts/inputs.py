"""The strategy on one input: how many states the first side's kernel needs there."""

from __future__ import annotations

from typing import Any

from dsf.core.errors import DSFError, ShapeError
from dsf.core.mechanism import Mechanism
from dsf.core.printing import at_least, at_most, exactly, n_states
from dsf.states import Realization, realize, states_needed
from dsf.verdicts.finding import Finding, Outcome, Verdict
from dsf.verdicts.question import Question


def states_on_this_input(q: Question) -> Outcome:
    """Two-sided bounds: of the states for an error, and of the error with some states."""
    if not isinstance(q.left, Mechanism):
        raise ShapeError(
            "compare: with u= the first side must be a mechanism, whose kernel is asked"
        )
    name, unit = q.names[0], " |M|" if q.tolerance.relative else ""
    need = _needed(q, q.left)
    best = realize(
        q.left.kernel(q.u),
        states=q.states,
        relative=q.tolerance.relative,
        time_limit=q.time_limit / 3,
    )
    statement = (
        f"on this input, error {exactly(q.tolerance.value)}{unit} of {name} needs at least "
        f"{need.lower} and at most {n_states(need.upper)}"
    )
    notes = [
        f"with {n_states(q.states)} the smallest error of any recurrence lies between "
        f"{at_least(best.lower, 3)}{unit} and {at_most(best.upper, 3)}{unit}"
    ]
    if isinstance(q.right, Mechanism):
        notes.append(_own(q, q.right))
    certificates = need.certificate, best.certificate
    found = Finding(Verdict.APPROXIMABLE, statement, certificates, tuple(notes))
    return Outcome((found,), "two-sided bounds of the states needed")


def _needed(q: Question, mech: Any) -> Realization:
    tol = {"rtol" if q.tolerance.relative else "atol": q.tolerance.value}
    return states_needed(mech, q.u, **tol, time_limit=q.time_limit / 3)


def _own(q: Question, mech: Mechanism) -> str:
    """How many states the second side's own kernel needs."""
    name = q.names[1]
    try:
        own = _needed(q, mech)
    except DSFError as problem:
        return f"{name} has no kernel to count: {problem}"
    return f"{name}'s own kernel on this input needs at least {own.lower} and at most {own.upper}"
