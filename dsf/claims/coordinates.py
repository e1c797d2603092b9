"""One map in two coordinates: the states of one instance are a matrix times those of another.

One step of both is run on residues at a free input from a free state (`dsf.core.worlds.modular`),
with the stored numbers as they are.  Where outputs agree and the states stay related, the two have
the same outputs on every input, for both start at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.free_tokens import PROBABILITY, array
from dsf.claims.reading import one_of, parameter, rationals, require, table, witness
from dsf.claims.sides import AS_STORED, FamilyClaim, instance
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.kinds import Recurrence
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import RESIDUES
from dsf.core.worlds.modular import Field, number, vanishing

LARGEST = 2**16  # numbers in the parameters: a check runs on them in Python


@dataclass(frozen=True, eq=False, kw_only=True)
class Coordinates(FamilyClaim, kind="instance-coordinates"):
    """S' = G S for the states S [... n p] of left and S' of right, G [... n n] of fractions."""

    scope, strength = Scope.INSTANCE, Strength.EXACT
    family: Family = witness(named)
    left: dict[str, np.ndarray] = witness(table(parameter))
    right: dict[str, np.ndarray] = witness(table(parameter))
    G: np.ndarray = witness(rationals)
    probability: str = witness(one_of(PROBABILITY))

    @property
    def statement(self) -> str:
        return (
            f"the two {self.family} have the same outputs on every input: the states of one are a "
            f"constant matrix times those of the other {AS_STORED}"
        )

    def check(self) -> None:
        mechs = [instance(self.family, x) for x in (self.left, self.right)]
        require(isinstance(mechs[0], Recurrence), f"{self.family} is no recurrence")
        require(mechs[0].lookback in (0, 1), f"{self.family} looks back more than one token")
        shapes = [{k: v.shape for k, v in m.parameters().items()} for m in mechs]
        require(shapes[0] == shapes[1], "the two have parameters of different shapes")
        count = sum(v.size for v in mechs[0].parameters().values())
        require(count <= LARGEST, f"{count} parameters; a check reads at most {LARGEST}")
        S = start(mechs[0])
        fits = self.G.shape == (*S.shape[:-1], S.shape[-2])
        require(fits, f"G {self.G.shape} is no matrix for states {S.shape}")
        found = vanishing(lambda F: self._gaps(F, mechs, S))
        require(found, "a step of the two does not agree identically in input and state")

    def _gaps(self, F: Field, mechs: list[Mechanism], like: np.ndarray) -> Iterator[Any]:
        left, right = (m.map(lambda x: exact(F, x)) for m in mechs)
        position, d = F.free("pos"), left.d
        before, now = (array(F, mark, (1, d)) for mark in ("before", "now"))
        S = array(F, "S", like.shape)
        if like.dtype.kind == "c":
            S = RESIDUES.as_complex(S, array(F, "Si", like.shape))
        G = exact(F, self.G)
        sides = [(left, S), (right, G @ S)]
        steps = [_step(m, now, position, before, x) for m, x in sides]
        firsts = [_step(m, now, position) for m, _ in sides]
        for (y, s), (Y, R) in (steps, firsts):
            yield from (Y - y).flat
            yield from (R - G @ s).flat


def _step(
    mech: Mechanism, u: np.ndarray, t: Any, before: Any = None, S: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """(o, S) after one token at position t: from a state and the token before it, or the start."""
    tail = _at(mech, before, t - 1) if mech.lookback and before is not None else None
    state = State() if S is None else State(S, tail, 1)
    o, new = mech.advance(_at(mech, u, t), state)
    return o, new.S


def _at(mech: Mechanism, u: np.ndarray, t: Any) -> Tokens:
    """The token of an input at a free position."""
    tok = mech.tokens(u)
    placed = "pos" in mech.token_fields
    return tok.replace(pos=np.array([[t]], dtype=object)) if placed else tok


def exact(F: Field, x: np.ndarray) -> np.ndarray:
    """Stored numbers as residues."""
    put = np.frompyfunc(lambda e: number(e, F), 1, 1)
    return np.asarray(put(x), dtype=object).reshape(np.shape(x))


def start(mech: Mechanism) -> np.ndarray:
    """A state of the shape and kind that the mechanism has, after an input of zeros."""
    double = mech.map(lambda x: np.asarray(x, np.float64))
    with np.errstate(all="ignore"):
        tok = double.tokens(np.zeros((1, mech.d)))
        return np.asarray(double.advance(double.positioned(tok, 0), State())[1].S)
