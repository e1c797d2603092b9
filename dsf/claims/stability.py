"""Where the eigenvalues of a transition lie, decided by Schur-Cohn.

The claim bounds r = max |eigenvalue of A| for one A, r = max_t |A_t|_2 for several, whose squares
are the eigenvalues of A_t* A_t.  Diagonal entries are compared one by one, matrices as
`dsf.claims.schur_cohn` says; the finder looks at the roots themselves instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import Reader, bound, digest, flag, many, one_of, require, witness
from dsf.claims.schur_cohn import Entry, Matrix, gaussian, rational
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least, at_most

ONE_A = ("stable", "marginal", "unstable", "undecided")
SEVERAL = ("contractive", "nonexpansive", "undecided")
AXES = {"a": 1, "log_a": 1, "U": 2, "W": 2, "A": 2}
TINY = 1e-300  # added where 0 would be multiplied; bounds of entries left out are far above it
# Entries are left out by floats if they are smaller than the bound by more than their rounding:
PRODUCT = 1e-12  # relative, of a product of two factors, generously
CLEARLY = 1e-9  # relative, of the modulus; absolute, of the exponent log_a
MOST = 2**22  # transitions in one claim
TIGHT = 1e-6  # the bounds may not be looser than this, relative to r, unless nothing was decided

Factors = tuple[np.ndarray, ...]


def _factors(axes: int) -> Reader:
    """Factors of one coefficient: float64 or complex128, which are read without rounding."""

    def read(f: Any, name: str) -> np.ndarray:
        known = type(f) is np.ndarray and f.dtype in (np.float64, np.complex128)
        wanted = f"float64 or complex128 with {axes} axes or more"
        require(known and f.ndim >= axes, f"{name} must be {wanted}")
        return np.array(f)

    return many(read)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stability(Claim, kind="stability"):
    """Both bounds of r, both bounds of 1 - r, and the verdict, for a transition made of factors.

    The transition is a diagonal a or exp(log_a), that plus U W', or a dense A; every coefficient is
    the product of its factors.
    """

    reference = "schur1917, cohn1922"
    scope: Scope = witness(one_of(Scope.OPERATOR, Scope.INSTANCE))
    strength: Strength = witness(one_of(Strength.EXACT, Strength.ENCLOSED))
    lower: float = witness(bound)
    upper: float = witness(bound)
    varying: bool = witness(flag)
    verdict: str = witness(one_of(*ONE_A, *SEVERAL))
    margin: tuple[float, ...] = witness(many(bound))
    a: Factors | None = witness(_factors(1), optional=True)
    log_a: Factors | None = witness(_factors(1), optional=True)
    U: Factors | None = witness(_factors(2), optional=True)
    W: Factors | None = witness(_factors(2), optional=True)
    A: Factors | None = witness(_factors(2), optional=True)

    @property
    def statement(self) -> str:
        code = digest((name, f) for name, factors in self.parts().items() for f in factors)
        what = "max_t |A_t|_2" if self.varying else "the spectral radius"
        low, high = at_least(self.lower, 17), at_most(self.upper, 17)
        return f"{what} of the transition {code} lies in [{low}, {high}]: {self.verdict}"

    def parts(self) -> dict[str, Factors]:
        """The coefficients that are given."""
        found = {name: getattr(self, name) for name in AXES}
        return {name: factors for name, factors in found.items() if factors is not None}

    def check(self) -> None:
        lower, upper = self.lower, self.upper
        require(len(self.margin) == 2, "the margin must have two bounds")
        least, most = self.margin
        fits = self.scope is (Scope.OPERATOR if self.varying else Scope.INSTANCE)
        require(fits, "the scope must be instance for one A, operator for several")
        strength = Strength.EXACT if lower == upper else Strength.ENCLOSED
        require(self.strength is strength, f"the strength that follows is {strength.value!r}")
        require(lower <= upper and least <= most, "the bounds are out of order")
        if self.verdict != "undecided":
            loose = upper < np.inf and upper - lower > TIGHT * lower + TINY
            require(not loose, "the bounds are looser than an enclosure explains")
        items = _items(self.parts(), self.varying, min(lower, 1.0 - most))
        self._check_bounds(items, least, most)
        self._check_verdict(items)

    def _check_bounds(self, items: list[Any], least: float, most: float) -> None:
        one = rational(1.0)
        above = [rational(self.upper)] if self.upper < np.inf else []
        above += [one - rational(least)] if least > -np.inf else []
        for r in above:
            require(all(x.at_most(r) for x in items), f"r exceeds {self.upper:.17g}")
        for r in (rational(self.lower), one - rational(most)):
            reached = r <= 0 or any(not x.below(r) for x in items)
            require(reached, f"r stays below {self.lower:.17g}")

    def _check_verdict(self, items: list[Any]) -> None:
        one, verdict = rational(1.0), self.verdict
        if verdict in ("stable", "contractive"):
            holds = all(x.below(one) for x in items)
        elif verdict in ("marginal", "nonexpansive"):
            holds = all(x.at_most(one) for x in items) and not all(x.below(one) for x in items)
            holds = holds and (self.varying or all(x.bounded() for x in items))
        elif verdict == "unstable":
            holds = not all(x.at_most(one) and x.bounded() for x in items)
        else:
            holds = verdict == "undecided"
        fits = verdict in (SEVERAL if self.varying else ONE_A)
        require(holds and fits, f"the verdict {verdict!r} does not follow")


# --------------------------------------------------------------- the transitions
def _items(factors: dict[str, Factors], varying: bool, least: float) -> list[Any]:
    """One object per distinct entry or matrix, each with `below`, `at_most`, `bounded`.

    Entries that floats show to be below `least` by far more than their rounding are left out.
    """
    given = set(factors)
    require(all(factors.values()), "a coefficient has no factor")
    shapes = [x.shape[: x.ndim - AXES[k]] for k, f in factors.items() for x in f]
    count = math.prod(np.broadcast_shapes(*shapes))
    require(count <= MOST, f"{count} transitions are more than a check looks at ({MOST})")
    if given in ({"a"}, {"log_a"}):
        (name,) = given
        rows = np.broadcast_arrays(*factors[name])
        with np.errstate(all="ignore"):
            product = reduce(np.multiply, rows)
            size = np.exp(product.real) if name == "log_a" else np.abs(product)
            error = reduce(np.multiply, [np.abs(x) for x in rows]) * PRODUCT
            small = size * (1.0 + CLEARLY) + TINY < least
            small &= (error < CLEARLY) if name == "log_a" else (error < np.inf)
            small &= len(rows) <= 2  # partial products of more may underflow on the way
        table = np.stack([x[~small] for x in rows], -1)
        table = np.unique(table, axis=0)
        return [Entry([gaussian(v) for v in row], name == "log_a", row) for row in table]
    require(given in ({"A"}, {"a", "U", "W"}, {"log_a", "U", "W"}), "no transition is given")
    return list(_matrices(factors, varying))


def _matrices(factors: dict[str, Factors], varying: bool) -> Iterator[Matrix]:
    lead = np.broadcast_shapes(
        *(f.shape[: f.ndim - AXES[k]] for k, x in factors.items() for f in x)
    )
    seen = set()
    for index in np.ndindex(lead):
        part = {}
        for k, x in factors.items():
            full = [np.broadcast_to(f, (*lead, *f.shape[f.ndim - AXES[k] :]))[index] for f in x]
            part[k] = list(np.broadcast_arrays(*full))
        _fit(part)
        key = b"".join(np.ascontiguousarray(f).tobytes() for x in part.values() for f in x)
        if key not in seen:
            seen.add(key)
            yield Matrix(part, varying)


def _fit(part: dict[str, list[np.ndarray]]) -> None:
    """A [n n], or a diagonal [n|1] with U and W [n r]."""
    sizes = {k: x[0].shape for k, x in part.items()}
    if "A" in sizes:
        require(sizes["A"][0] == sizes["A"][1], "a dense transition must be square")
    else:
        (diagonal,) = (v for k, v in sizes.items() if k in ("a", "log_a"))
        require(sizes["U"] == sizes["W"], "U and W have different shapes")
        require(diagonal[0] in (1, sizes["U"][0]), "the diagonal does not fit U and W")
    for f in part.get("log_a", ()):
        single = len(part["log_a"]) == 1
        require(single or not np.isneginf(f.real).any(), "a factor is infinite")
