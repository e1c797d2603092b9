"""Two instances of softmax attention whose logits are the same: queries and keys in other units.

Logits and values of both are computed on residues at free inputs (`dsf.core.worlds.modular`), with
the stored numbers as they are.  Outputs are made of these alone, so they are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.coordinates import LARGEST, exact
from dsf.claims.free_tokens import PROBABILITY, array
from dsf.claims.having import outside
from dsf.claims.reading import one_of, parameter, require, table, witness
from dsf.claims.sides import AS_STORED, FamilyClaim, instance
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.kinds import DotProductAttention
from dsf.core.mechanism import Mechanism
from dsf.core.worlds import RESIDUES
from dsf.core.worlds.modular import Field, vanishing

# what makes outputs of scores: that of `DotProductAttention` alone is looked at
OF_THE_KIND = set(DotProductAttention.__mro__)
MAKERS = {"weights", "support", "outputs", "readout", "normaliser", "merge", "advance"}


@dataclass(frozen=True, eq=False, kw_only=True)
class SameScores(FamilyClaim, kind="instance-scores"):
    """q_i'k_j and v_j of left and right agree identically in the inputs u_i, u_j."""

    scope, strength = Scope.INSTANCE, Strength.EXACT
    family: Family = witness(named)
    left: dict[str, np.ndarray] = witness(table(parameter))
    right: dict[str, np.ndarray] = witness(table(parameter))
    probability: str = witness(one_of(PROBABILITY))

    @property
    def statement(self) -> str:
        return (
            f"the two {self.family} have the same outputs on every input: their logits and their "
            f"values are the same functions of it {AS_STORED}"
        )

    def check(self) -> None:
        mechs = [instance(self.family, x) for x in (self.left, self.right)]
        kind = isinstance(mechs[0], DotProductAttention) and not outside(self.family)
        require(kind, f"{self.family} is not softmax attention of this package")
        own = {k for c in self.family.cls.__mro__ for k in vars(c) if c not in OF_THE_KIND}
        require(not own & MAKERS, f"{self.family} makes outputs of its scores in its own way")
        require("pos" not in self.family.spec, f"{self.family} sees positions")
        shapes = [{k: v.shape for k, v in m.parameters().items()} for m in mechs]
        require(shapes[0].keys() == shapes[1].keys(), "the two have parameters of different names")
        count = sum(v.size for m in mechs for v in m.parameters().values())
        require(count <= 2 * LARGEST, f"{count} parameters; a check reads at most {2 * LARGEST}")
        require(mechs[0].d == mechs[1].d, "the two take inputs of different widths")
        found = vanishing(lambda F: _gaps(F, mechs))
        require(found, "the logits or the values of the two do not agree identically")


def _gaps(F: Field, mechs: list[Mechanism]) -> Iterator[Any]:
    """Differences of the logits of one input on another, and of the values of that one."""
    query, key = (array(F, mark, (1, mechs[0].d)) for mark in ("query", "key"))
    (s, v), (z, w) = (_scores(F, m, query, key) for m in mechs)
    require(s.shape == z.shape and v.shape == w.shape, "the two differ in heads or width")
    yield from (z - s).flat
    yield from (w - v).flat


def _scores(F: Field, mech: Any, query: np.ndarray, key: np.ndarray) -> tuple[Any, Any]:
    mech = mech.map(lambda x: exact(F, x))
    q, _, _ = mech.scores(mech.tokens(query), 1)
    _, k, v = mech.scores(mech.tokens(key), 1)
    return q @ RESIDUES.mT(k), v
