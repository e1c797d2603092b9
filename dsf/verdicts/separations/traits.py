"""What the equations of a family look like, read off a drawn system."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dsf.core.family import Family
from dsf.core.kinds import Attention, Step
from dsf.core.transition import Diag, LowRank, dense

DRAWS, LENGTH = 3, 4


@dataclass(frozen=True)
class Traits:
    """Properties of a family's recurrence that invariants rest on.

    affine     a finite state, a step affine in it, and a readout linear in it at a fixed token
    tokenwise  coefficients depend on the current token only (no look-back, no position), and the
               state is updated once per token
    diagonal, scalar   the kind of transition (scalar: one real number)
    positive   all transition entries are real and > 0
    forgets    all transition entries are below 1 in modulus
    constant   no coefficient depends on the tokens
    delta      A = (scalar)(I - b k k') and B proportional to k
    lossless   the scalar in front of the delta transition is 1
    contracts  the scalar in front of the delta transition is below 1
    """

    affine: bool
    tokenwise: bool = False
    diagonal: bool = False
    scalar: bool = False
    positive: bool = False
    forgets: bool = False
    constant: bool = False
    delta: bool = False
    lossless: bool = False
    contracts: bool = False


@cache
def traits(family: Family) -> Traits:
    """The traits of a family, on drawn tokens at n = 4: two complex pairs are not a scalar."""
    mech = family.bare()
    if isinstance(mech, Step) or isinstance(mech, Attention):
        return Traits(affine=False)
    found = [_of_draw(family, seed) for seed in range(DRAWS)]
    return Traits(*(all(column) for column in zip(*found, strict=True)))


def _of_draw(family: Family, seed: int) -> tuple[bool, ...]:
    rng, mech = np.random.default_rng(seed), family.bare()
    drawn = family.draw_tokens(rng, LENGTH, n=4, p=2, d=2)
    tok = drawn
    ltv, X = mech.system(tok)
    o1, o2 = (rng.standard_normal(ltv.scan(X)[0].shape) for _ in range(2))
    if mech.micro > 1:
        o1, o2 = (o[..., mech.micro - 1 :: mech.micro, :, :] for o in (o1, o2))
    joined = mech.readout(o1 + o2, tok)
    parts = mech.readout(o1, tok) + mech.readout(o2, tok)
    A = ltv.A
    diagonal = isinstance(A, Diag)
    a = A.values() if isinstance(A, Diag) else np.zeros(1)
    delta = isinstance(A, LowRank) and _delta(A, dense(ltv.B))
    front = A.diag.values() if isinstance(A, LowRank) else np.zeros(1)
    return (
        joined.shape == parts.shape and bool(np.allclose(joined, parts, rtol=1e-12)),
        mech.micro == 1 and not mech.lookback and "pos" not in family.spec,
        diagonal,
        diagonal and A.structure == "scalar" and not np.iscomplexobj(a),
        diagonal and not np.iscomplexobj(a) and bool(np.all(a > 0)),
        diagonal and bool(np.all(np.abs(a) < 1)),
        ltv.constant,
        delta,
        delta and bool(np.all(front == 1)),
        delta and bool(np.all(front < 1)),
    )


def _delta(A: LowRank, B: np.ndarray) -> bool:
    """Whether A = s (I - b w w') with a scalar s, and the columns of U, W and B are parallel."""
    U, W = dense(A.U), dense(A.W)
    if A.rank != 1 or A.diag.structure != "scalar":
        return False
    return bool(np.allclose(U @ W.mT, W @ U.mT) and np.allclose(B @ W.mT, W @ B.mT))
