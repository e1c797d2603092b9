"""The claims about state counts as sentences: what a certificate says, what its checker reads."""

from __future__ import annotations


def states_sentence(error: float, relative: bool, radius: float, lower: int, upper: int) -> str:
    """The claim of a two-sided count of states."""
    return (
        f"error {error:.6g}{' |M|' if relative else ''} in the operator 2-norm{_within(radius)}: "
        f"{lower} states are necessary, {upper} suffice (system given)"
    )


def error_sentence(states: int, relative: bool, radius: float, lower: float, upper: float) -> str:
    """The claim of a two-sided bound on the best error of a given number of states."""
    unit = " |M|" if relative else ""
    return (
        f"{states} states, operator 2-norm{_within(radius)}: the error is at least "
        f"{lower:.6g}{unit}; {upper:.6g}{unit} is reached (system given)"
    )


def lower_sentence(error: float, radius: float, lower: int, cut: int) -> str:
    """The claim of a lower bound on the number of states."""
    return (
        f"error {error:.6g} in the operator 2-norm{_within(radius)}: {lower} states are necessary "
        f"(Hankel block at cut {cut})"
    )


def gap_sentence(states: int, radius: float, lower: float, cut: int) -> str:
    """The claim of a lower bound on the error."""
    return (
        f"{states} states, operator 2-norm{_within(radius)}: the error is at least {lower:.6g} "
        f"(Hankel block at cut {cut})"
    )


def _within(radius: float) -> str:
    return f", all operators within {radius:.3g} of M" if radius else ""
