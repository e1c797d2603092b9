"""The claims about state counts as sentences: what a certificate says, what its checker reads."""

from __future__ import annotations

from dsf.core.printing import at_least, at_most, exactly


def states_sentence(error: float, relative: bool, radius: float, lower: int, upper: int) -> str:
    """The claim of a two-sided count of states."""
    unit = " |M|" if relative else ""
    return (
        f"error {exactly(error)}{unit} in the operator 2-norm{_within(radius)}: "
        f"{lower} states are necessary, {upper} suffice (system given)"
    )


def error_sentence(states: int, relative: bool, radius: float, lower: float, upper: float) -> str:
    """The claim of a two-sided bound on the best error of a given number of states."""
    unit = " |M|" if relative else ""
    return (
        f"{states} states, operator 2-norm{_within(radius)}: the error is at least "
        f"{at_least(lower, 6)}{unit}; {at_most(upper, 6)}{unit} is reached (system given)"
    )


def lower_sentence(error: float, radius: float, lower: int, cut: int) -> str:
    """The claim of a lower bound on the number of states."""
    return (
        f"error {exactly(error)} in the operator 2-norm{_within(radius)}: {lower} states are "
        f"necessary (Hankel block at cut {cut})"
    )


def gap_sentence(states: int, radius: float, lower: float, cut: int) -> str:
    """The claim of a lower bound on the error."""
    return (
        f"{states} states, operator 2-norm{_within(radius)}: the error is at least "
        f"{at_least(lower, 6)} (Hankel block at cut {cut})"
    )


def _within(radius: float) -> str:
    return f", all operators within {at_least(radius, 3)} of M" if radius else ""
