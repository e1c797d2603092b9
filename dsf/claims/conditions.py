"""Checker for pairs that meet under a condition: their kernels at length 3, in balls of 300 bits.

Under the conditions the two kernels must agree; with any one condition broken an entry must differ
by an amount enclosed away from zero.  The tokens are random rationals, so agreement is confirmed
only with overwhelming probability; a disagreement would refute for certain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dsf.claims.identities import BITS, SMALL, ball, rational, size_of
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.core.fields import GATE, NEGATIVE, POSITIVE, REAL, UNIT
from dsf.core.tokens import Tokens

L, N = 3, 2


def equal_when(c: Certificate) -> None:
    """Recompute the certificate of a conditional equality."""
    import flint

    case, left, right = _same_case(c)
    precision = flint.ctx.prec
    flint.ctx.prec = BITS
    try:
        for seed in range(3):
            EVALUATE[case.name](left, right, np.random.default_rng(seed))
    finally:
        flint.ctx.prec = precision


def _same_case(c: Certificate) -> Any:
    """The case of the table that the certificate speaks of; every word must be the table's."""
    from dsf.core.catalogue import family
    from dsf.relations.conditions import CASES

    w = c.witnesses
    found = [case for case in CASES if case.name == w.get("case")]
    _require(len(found) == 1, f"no case {w.get('case')!r} in the table")
    case, left, right = found[0], family(str(w.get("left"))), family(str(w.get("right")))
    _require(case.accepts(left, right), f"{case.name} says nothing about {left!r}, {right!r}")
    _require(
        list(w.get("conditions", ())) == list(case.conditions(left, right)), "other conditions"
    )
    _require(w.get("inside the domains") == case.solvable, "another word on solvability")
    _require(c.claim == case.claim(left, right), "the claim is another sentence")
    _require(c.scope is Scope.RECURRENCE, "a condition on tokens is a statement about recurrences")
    _require(c.strength is Strength.EXACT, "the proof is symbolic")
    return case, left, right


def _coupled(left: Any, right: Any, rng: np.random.Generator) -> None:
    """dt = 1/eta and eta_{i-1} = eta_i e^{a/eta_i}, against each of them broken."""
    free = {x: rational(REAL, (L, N), rng) for x in ("q", "k")}
    free["v"] = rational(REAL, (L, 1), rng)
    a = rational(NEGATIVE, (1, 1), rng)
    chain = [5 + rational(POSITIVE, (1,), rng)[0]]  # backwards the normaliser shrinks fast
    for _ in range(L - 1):
        chain.insert(0, chain[0] * (a[0, 0] / chain[0]).exp())
    eta = np.array(chain, dtype=object)[:, None]
    more = ball((3, 2))

    def gap(dt: np.ndarray, eta: np.ndarray, a: np.ndarray) -> np.ndarray:
        if left.name == "mamba2":
            tok = Tokens(**free, dt=dt, a=a)
        else:  # channels as heads: one channel, and every row its own a
            lifted = {x: free[x][None] for x in ("q", "k")}
            tok = Tokens(
                **lifted, v=free["v"].T[:, :, None], dt=dt[None], a=(a + 0 * free["k"][:1])[None]
            )
        ours = left.bare().system(tok)[0].kernel().reshape(L, L)
        return ours - right.bare().system(Tokens(**free, eta=eta))[0].kernel()

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
    zero, one = ball((0, 1)), ball((1, 1))
    signs = rng.choice([-1, 1], L)
    k = np.array(
        [[one * int(s) if i == j else zero for i in range(N)]
         for s, j in zip(signs, rng.integers(0, N, L), strict=True)],
        dtype=object,
    )  # fmt: skip
    tok = Tokens(
        q=rational(REAL, (L, N), rng),
        k=k,
        v=rational(REAL, (L, 1), rng),
        beta=rational(GATE, (L, 1), rng),
    )
    decay = one
    if "log_a" in right.spec:
        tok = tok.replace(log_a=rational(NEGATIVE, (L, 1), rng))
        decay = np.frompyfunc(lambda e: e.exp(), 1, 1)(tok.log_a)
    gate = np.frompyfunc(lambda e: e.log(), 1, 1)(decay * (1 - tok.beta * k * k))
    image = Tokens(q=tok.q, k=tok.beta * k, v=tok.v, log_a=gate)
    ours, theirs = left.bare().system(image)[0], right.bare().system(tok)[0]
    _agree(ours.kernel() - theirs.kernel())
    halved = image.replace(k=image.k / 2)
    _differ(left.bare().system(halved)[0].kernel() - theirs.kernel(), "k of the diagonal side")
    weaker = image.replace(log_a=gate - 1)
    _differ(left.bare().system(weaker)[0].kernel() - theirs.kernel(), "alpha")
    # one entry of the operator that is zero for every diagonal gate: e_0 read after e_1 was written
    mixed = k.copy()
    mixed[0], mixed[1] = [zero, one], rational(UNIT, (1, N), rng)[0]
    q = tok.q.copy()
    q[1] = [one, zero]
    entry = right.bare().system(tok.replace(k=mixed, q=q))[0].kernel()[1, 0]
    _require(not entry.contains(0), "a key with two entries does not move a row of the state")
    other = left.bare().system(image.replace(k=tok.beta * mixed, q=q))[0].kernel()[1, 0]
    _require(size_of(other) < SMALL, "a diagonal gate moved a row of the state")


EVALUATE: dict[str, Callable[[Any, Any, np.random.Generator], None]] = {
    "coupled-step-size": _coupled,
    "one-hot-keys": _one_hot,
}


def _agree(gap: np.ndarray) -> None:
    _require(size_of(gap) < SMALL, f"under the conditions the kernels differ by {size_of(gap):.3g}")


def _differ(gap: np.ndarray, broken: str) -> None:
    apart = any(not e.contains(0) for e in gap.flat)
    _require(apart, f"without the condition on {broken} the kernels are not shown to differ")


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise CertificateError(f"equal-when: {why}")
