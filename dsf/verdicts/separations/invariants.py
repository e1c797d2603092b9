"""Who has the invariants that are equations between outputs on a few words."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.relations import invariants as known
from dsf.relations.invariants import window
from dsf.verdicts.properties import properties
from dsf.verdicts.separations.core import WordSeparation
from dsf.verdicts.separations.words import Alphabet


def silent(*names: str) -> Any:
    """Letters `names` write nothing: their values are 0; letter a has the value 1 and b is a with
    the value 0."""

    def tie(alphabet: Alphabet) -> Alphabet:
        letters = dict(alphabet.letters)
        if "v" not in letters["a"]:
            return alphabet
        zero = np.full_like(letters["a"]["v"], Fraction(0))
        letters["a"] = {**letters["a"], "v": zero + 1}
        for name in names:
            letters[name] = {**letters[name], "v": zero}
        letters["b"] = {**letters["a"], "v": zero}
        return replace(alphabet, letters=letters)

    return tie


ORDER_BLIND = WordSeparation(
    known.ORDER_BLIND,
    predicate=lambda family: not family.facts.order_aware,
)

COMMUTING = WordSeparation(
    known.COMMUTING,
    predicate=lambda family: (
        not family.facts.order_aware
        or window(family) > 0
        or (
            properties(family).affine
            and properties(family).diagonal
            and not family.without_parameters().lookback
        )
    ),
    tie=silent("x", "y", "z"),
)

ADDITIVE = WordSeparation(
    known.ADDITIVE,
    predicate=lambda family: properties(family).affine and properties(family).constant,
)

CONSTANTS = WordSeparation(
    known.CONSTANTS,
    predicate=lambda family: family.facts.normalised,
)

RESPONSE = WordSeparation(
    known.RESPONSE,
    predicate=lambda family: (
        family.facts.normalised
        or (
            properties(family).affine
            and properties(family).tokenwise
            and (properties(family).scalar or properties(family).delta)
        )
    ),
)

MEMORY = WordSeparation(
    known.MEMORY,
    predicate=lambda family: (
        properties(family).affine
        and properties(family).tokenwise
        and (
            properties(family).scalar or (properties(family).delta and properties(family).lossless)
        )
    ),
)

WINDOW = WordSeparation(
    known.WINDOW,
    predicate=lambda family: window(family) > 0,
    tie=silent("z"),
)
