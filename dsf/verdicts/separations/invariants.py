"""Who has the invariants that are equations between outputs on a few words."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.relations import invariants as known
from dsf.relations.invariants import window
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


ORDER_BLIND = WordSeparation(known.ORDER_BLIND, lambda f, t: not f.facts.order_aware)

COMMUTING = WordSeparation(
    known.COMMUTING,
    lambda f, t: (
        not f.facts.order_aware
        or window(f) > 0
        or (t.affine and t.diagonal and not f.without_parameters().lookback)
    ),
    tie=silent("x", "y", "z"),
)

ADDITIVE = WordSeparation(known.ADDITIVE, lambda f, t: t.affine and t.constant)

CONSTANTS = WordSeparation(known.CONSTANTS, lambda f, t: f.facts.normalised)

RESPONSE = WordSeparation(
    known.RESPONSE,
    lambda f, t: f.facts.normalised or (t.affine and t.tokenwise and (t.scalar or t.delta)),
)

MEMORY = WordSeparation(
    known.MEMORY,
    lambda f, t: t.affine and t.tokenwise and (t.scalar or (t.delta and t.lossless)),
)

WINDOW = WordSeparation(known.WINDOW, lambda f, t: window(f) > 0, tie=silent("z"))
