"""Pairs that meet exactly under a condition: the proof replayed, and both kernels in balls.

The symbolic proof (`dsf.claims.condition_proofs`) solves the kernels of length 3 for the
conditions and shows that one step agrees under them.  Beside it the kernels are evaluated at random
rational tokens that are drawn anew: under the conditions they must agree to 2^-200; with any one
condition broken an entry must differ by an amount enclosed away from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import BITS, SMALL, drawn, number, size_of
from dsf.claims.reading import many, one_of, require, text, witness
from dsf.claims.sides import FamilyClaim
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.fields import GATE, NEGATIVE, POSITIVE, REAL, UNIT
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.relations.conditions import CASES, Case

L, N = 3, 2
TABLE = {case.name: case for case in CASES}
SUFFICIENT = "one step from a free state"


@dataclass(frozen=True, eq=False, kw_only=True)
class EqualWhen(FamilyClaim, kind="equal-when"):
    """Two families that are the same map exactly under conditions on their tokens."""

    scope, strength = Scope.RECURRENCE, Strength.EXACT
    reference: str = witness(text)
    case: str = witness(one_of(*TABLE))
    left: Family = witness(named)
    right: Family = witness(named)
    conditions: tuple[str, ...] = witness(many(text))
    inside_the_domains: str = witness(text)
    necessary: str = witness(text)
    sufficient: str = witness(text)

    @classmethod
    def of(cls, case: Case, left: Family, right: Family) -> EqualWhen:
        """The claim that a case of the table makes about two families."""
        require(case.accepts(left, right), f"{case.name} says nothing about {left!r}, {right!r}")
        return cls(
            case=case.name,
            left=left,
            right=right,
            conditions=case.conditions(left, right),
            inside_the_domains=case.solvable,
            necessary=case.necessary,
            sufficient=SUFFICIENT,
            reference=case.reference,
        )

    @property
    def gates_only(self) -> bool:
        """Whether the conditions bind gates alone; q, k, v are free and identified."""
        return TABLE[self.case].gates_only

    @property
    def statement(self) -> str:
        return TABLE[self.case].claim(self.left, self.right)

    def check(self) -> None:
        for name, value in vars(EqualWhen.of(TABLE[self.case], self.left, self.right)).items():
            got = getattr(self, name)
            require(got == value, f"the {name} of {self.case} is {value!r}, not {got!r}")
        from dsf.claims.condition_proofs import PROOFS  # imports sympy

        for proof in PROOFS[self.case]:
            proved = proof(self.left, self.right)
            require(proved, f"{self.case} does not prove for {self.left}, {self.right}")
        with precision(BITS):
            EVALUATE[self.case](self.left, self.right, np.random.default_rng())


def _coupled(left: Any, right: Any, rng: np.random.Generator) -> None:
    """dt = 1/eta and eta_{i-1} = eta_i e^{a/eta_i}, against each of them broken."""
    free = {x: drawn(REAL, (L, N), rng) for x in ("q", "k")}
    free["v"] = drawn(REAL, (L, 1), rng)
    a = drawn(NEGATIVE, (1, 1), rng)
    chain = [5 + drawn(POSITIVE, (1,), rng)[0]]  # backwards the normaliser shrinks fast
    for _ in range(L - 1):
        chain.insert(0, chain[0] * (a[0, 0] / chain[0]).exp())
    eta = np.array(chain, dtype=object)[:, None]
    more = number(3, 2)

    def gap(dt: np.ndarray, eta: np.ndarray, a: np.ndarray) -> np.ndarray:
        if left.name == "mamba2":
            tok = Tokens(**free, dt=dt, a=a)
        else:  # channels as heads: one channel, and every row its own a
            lifted = {x: free[x][None] for x in ("q", "k")}
            tok = Tokens(
                **lifted, v=free["v"].T[:, :, None], dt=dt[None], a=(a + 0 * free["k"][:1])[None]
            )
        return _kernel(left, tok).reshape(L, L) - _kernel(right, Tokens(**free, eta=eta))

    _agree(gap(1 / eta, eta, a))
    for i in range(L):
        dt = 1 / eta
        dt[i, 0] = dt[i, 0] * more
        _differ(gap(dt, eta, a), f"dt_{i}")
    for i in range(L - 1):
        broken = eta.copy()
        broken[: i + 1] = broken[: i + 1] * more
        _differ(gap(1 / broken, broken, a), f"eta_{i}")
    if left.name != "mamba2":
        rows = a + 0 * free["k"][:1]
        rows[0, 0] = rows[0, 0] * more
        _differ(gap(1 / eta, eta, rows), "a shared by the rows")
    _differ(gap(1 / eta, eta, a * more), "a")


def _one_hot(left: Any, right: Any, rng: np.random.Generator) -> None:
    """One-hot keys against a key with two entries, which moves one row of the state to another."""
    zero, one = number(0), number(1)
    signs = rng.choice([-1, 1], L)
    k = np.array(
        [[one * int(s) if i == j else zero for i in range(N)]
         for s, j in zip(signs, rng.integers(0, N, L), strict=True)],
        dtype=object,
    )  # fmt: skip
    tok = Tokens(
        q=drawn(REAL, (L, N), rng),
        k=k,
        v=drawn(REAL, (L, 1), rng),
        beta=drawn(GATE, (L, 1), rng),
    )
    decay = one
    if "log_a" in right.spec:
        tok = tok.replace(log_a=drawn(NEGATIVE, (L, 1), rng))
        decay = np.frompyfunc(lambda e: e.exp(), 1, 1)(tok.log_a)
    gate = np.frompyfunc(lambda e: e.log(), 1, 1)(decay * (1 - tok.beta * k * k))
    image = Tokens(q=tok.q, k=tok.beta * k, v=tok.v, log_a=gate)
    theirs = _kernel(right, tok)
    _agree(_kernel(left, image) - theirs)
    _differ(_kernel(left, image.replace(k=image.k / 2)) - theirs, "k of the diagonal side")
    _differ(_kernel(left, image.replace(log_a=gate - 1)) - theirs, "alpha")
    # one entry of the operator that is zero for every diagonal gate: e_0 read after e_1 was written
    mixed = k.copy()
    mixed[0], mixed[1] = [zero, one], drawn(UNIT, (1, N), rng)[0]
    q = tok.q.copy()
    q[1] = [one, zero]
    entry = _kernel(right, tok.replace(k=mixed, q=q))[1, 0]
    require(not entry.contains(0), "a key with two entries does not move a row of the state")
    other = _kernel(left, image.replace(k=tok.beta * mixed, q=q))[1, 0]
    require(size_of(other) < SMALL, "a diagonal gate moved a row of the state")


EVALUATE: dict[str, Callable[[Any, Any, np.random.Generator], None]] = {
    "coupled-step-size": _coupled,
    "one-hot-keys": _one_hot,
}


def _kernel(f: Family, tok: Tokens) -> np.ndarray:
    return np.asarray(f.without_parameters().system(tok)[0].kernel())


def _agree(gap: np.ndarray) -> None:
    require(size_of(gap) < SMALL, f"under the conditions the kernels differ by {size_of(gap):.3g}")


def _differ(gap: np.ndarray, broken: str) -> None:
    apart = any(not e.contains(0) for e in gap.flat)
    require(apart, f"without the condition on {broken} the kernels are not shown to differ")
