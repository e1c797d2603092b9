"""The table of pairs that meet exactly under a condition on their tokens; the proofs are elsewhere.

`dsf.verdicts.lattice.equal_when` proves the entries, `dsf.claims` evaluates them on balls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dsf.mechanisms as m
from dsf.core.family import Family


@dataclass(frozen=True)
class Case:
    """A kind of pair: which families it accepts, and under which conditions they are the same map.

    gates_only   the conditions bind gates alone; q, k, v are free and identified
    solvable     whether the conditions have a solution inside the token domains
    necessary    which entries of the two kernels give the conditions
    """

    name: str
    accepts: Callable[[Family, Family], bool]
    conditions: Callable[[Family, Family], tuple[str, ...]]
    gates_only: bool
    solvable: str
    necessary: str
    reference: str

    def claim(self, left: Family, right: Family) -> str:
        """The statement of the certificate."""
        both = " and ".join(self.conditions(left, right))
        return f"{left!r} and {right!r} agree exactly when {both}"


def is_s6(family: Family) -> bool:
    """Whether the channels of a family are its heads."""
    return family.cls is m.S6


def _coupled_against_normalised(a: Family, b: Family) -> bool:
    """S6 or SSD without skip, against attention divided by an unbounded eta of the token.

    A bounded eta (sigmoid) leaves its domain after finitely many tokens: eta_i >= (1 - a) eta_{i-1}
    as long as eta_i <= 1.
    """
    return (
        a.cls in (m.S6, m.SSD)
        and not a.defaults()["skip"]
        and a.defaults().get("discretisation", "simplified") == "simplified"
        and b.cls is m.NormalisedAttention
        and b.defaults()["eta"] != "sigmoid"
    )


def _coupled_conditions(a: Family, b: Family) -> tuple[str, ...]:
    found = ("dt_i = 1/eta_i", "eta_i = eta_{i-1} exp(-a/eta_i) for i >= 1")
    return (*found, "dt and a are shared by channels and rows") if is_s6(a) else found


def _diagonal_against_delta(a: Family, b: Family) -> bool:
    return (
        a.cls is m.GLA
        and b.cls in (m.DeltaNet, m.GatedDeltaNet)
        and b.defaults()["unit_keys"]
        and b.defaults()["reach"] == 1
    )


def _delta_conditions(a: Family, b: Family) -> tuple[str, ...]:
    gate = "alpha = 1 - beta k*k (off the key that is 1, the closed end of its domain)"
    if b.cls is m.GatedDeltaNet:
        gate = "alpha = e^{log_a} (1 - beta k*k)"
    # sequences whose keys are parallel or of disjoint support agree too, but not from every state
    return ("the keys are one-hot (step by step, from every state)", gate, f"k of {a!r} is beta k")


CASES = (
    Case(
        "coupled-step-size",
        _coupled_against_normalised,
        _coupled_conditions,
        gates_only=True,
        solvable="yes: eta exp(a/eta) grows from 0 to infinity with eta, so each eta_{i-1} > 0 has "
        "one eta_i > eta_{i-1}; eta_i / i -> -a",
        necessary="M_00, M_10, M_11 with q, k free, solved; the entries of length 3 then agree",
        reference="sieber2024",
    ),
    Case(
        "one-hot-keys",
        _diagonal_against_delta,
        _delta_conditions,
        gates_only=False,
        solvable="an ungated delta rule needs gate 1 off the key, the closed end of its domain",
        necessary="M_00 and M_10 at n = 2, 3 with q and the earlier key free: beta k_i k_j = 0 for "
        "i != j",
        reference="yang2023; schlag2021",
    ),
)
