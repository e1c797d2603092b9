"""Two mechanisms side by side, at a glance: the table under a verdict."""

from __future__ import annotations

from typing import Any

from dsf.core.catalogue import family_of
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.opponents import AnyRecurrence
from dsf.verdicts.properties import Properties, properties

Row = tuple[str, str, str]

FORMULAS = ("state <-", "y_t", "state size", "flops/token")  # rows that hold formulas

REGIONS_IN_WORDS = {
    "any": "no common region",
    "0": "all 0",
    "1": "all 1",
    "disc": "open unit disc",
    "closed disc": "closed unit disc",
}


def compared(a: Any, b: Any) -> tuple[Row, ...]:
    """The table of two sides of a comparison; empty where one stands for every recurrence."""
    described = [x for x in (a, b) if not isinstance(x, AnyRecurrence)]
    return tuple(table(*described)) if len(described) == 2 else ()


def table(a: Family | Mechanism, b: Family | Mechanism) -> list[Row]:
    """Rows (label, value for a, value for b); conventions first, then structure, then numbers."""
    left, right = describe(a), describe(b)
    labels = list(dict.fromkeys([*left, *right]))
    return [(label, left.get(label, "-"), right.get(label, "-")) for label in labels]


def describe(side: Family | Mechanism) -> dict[str, str]:
    """The properties of one side (of an instance: of its family), measured, and its formulas."""
    family = side if isinstance(side, Family) else family_of(side)
    mech, found = family.without_parameters(), properties(family)
    state, output = mech.equations
    return {
        "state <-": state,
        "y_t": output,
        "reads": f"the state {found.read} the update" if found.linear else "-",
        "convention": "; ".join(mech.conventions) or "none",
        "numbers": "complex" if found.complex else "real",
        "per token": _per_token(found),
        **_transition(found),
        "earlier tokens": "their order counts" if found.order_aware else "order-blind",
        "constant v": "gives that constant" if found.normalised else "may be scaled",
        "state size": mech.facts.state.replace("*", " "),
        "flops/token": mech.facts.flops.replace("*", " "),
    }


def _transition(found: Properties) -> dict[str, str]:
    if not found.linear:
        return {"A_t": "none: the step is not affine in the state"}
    return {
        "A_t": f"{found.structure}, {'varies' if 'A' in found.varies else 'constant'}",
        "depends on u": ", ".join(found.varies) or "nothing",
        "eigenvalues": REGIONS_IN_WORDS.get(found.region, found.region),
    }


def _per_token(found: Properties) -> str:
    if found.lookback is None:
        return "reads every earlier token"
    parts = [f"{found.substeps} substeps"] if found.substeps > 1 else []
    parts += [f"looks back {found.lookback}"] if found.lookback else []
    return ", ".join(parts) or "one step"
