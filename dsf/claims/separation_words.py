"""Separations by an expression in the outputs on a few words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.claims import having
from dsf.claims.exact_tokens import BITS, outputs
from dsf.claims.reading import many, number, one_of, require, text, witness
from dsf.claims.separation import LetterClaim, largest, reproduced
from dsf.core.worlds import precision
from dsf.relations.invariants import INVARIANTS, WordInvariant

WORDS = {k: x for k, x in INVARIANTS.items() if isinstance(x, WordInvariant)}


@dataclass(frozen=True, eq=False, kw_only=True)
class ByWords(LetterClaim, kind="separation/words"):
    """An expression in the outputs on a few words: zero for one family, not for the other."""

    lower: float = witness(number)
    invariant: str = witness(one_of(*WORDS))
    words: tuple[str, ...] = witness(many(text))

    @property
    def statement(self) -> str:
        reason = WORDS[self.invariant].reason.format(has=self.has, violates=self.violates)
        length = max(map(len, self.words), default=0)
        return (
            f"{self.violates} is not nested in {self.has}: {reason} ({length} tokens; "
            f"{having.where(self.has)})"
        )

    def check(self) -> None:
        rule = WORDS[self.invariant]
        stated = self.words == rule.words(self.has, self.violates)
        require(stated, f"{rule.name} is not stated on the words {self.words}")
        used = set("".join(self.words))
        self.fit(used)
        with precision(BITS):
            F = [outputs(self.violates, self.letters, self.constants, w) for w in self.words]
            reproduced(self.lower, largest(np.ravel(rule.expression(F))))
        having.words(rule, self.has, self.words, rule.words(self.has, self.has))
