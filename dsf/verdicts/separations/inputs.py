"""Separations as maps from inputs u to outputs y, with parameters: one small instance violates."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np

from dsf.claims.separation_instances import ByInputs
from dsf.core.errors import DomainError, NotContractive
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.worlds import balls, precision
from dsf.relations import invariants as known
from dsf.relations.invariants import InputInvariant, paired
from dsf.verdicts.separations.core import CLEAR, TINY, Separation, below
from dsf.verdicts.separations.words import BITS


@dataclass(frozen=True, eq=False)
class InputSeparation(Separation):
    """An invariant of the form: this expression in the outputs for these inputs is zero.

    inputs      candidates, smallest first; each a list of sequences [L d]
    """

    invariant: InputInvariant
    inputs: tuple[list[np.ndarray], ...] = ()

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        mech = family.init(d=self._width, n=2, p=self._width, seed=int(rng.integers(1 << 30)))
        factor = rng.standard_normal((1, self._width))
        y = outputs(mech, [x * factor for x in self.inputs[-1]])
        size = max(np.abs(x).max() for x in y)
        return float(np.abs(self.invariant.expression(y)).max() / max(size, TINY))

    @property
    def _width(self) -> int:
        return self.inputs[0][0].shape[-1]

    def search(self, a: Family, b: Family) -> tuple[Mechanism, list[np.ndarray], float] | None:
        return None if self.has(b) else _found(self, b)

    def claim(
        self, a: Family, b: Family, witness: tuple[Mechanism, list[np.ndarray], float]
    ) -> ByInputs:
        mech, u, gap = witness
        return ByInputs(
            lower=gap, invariant=self.name, has=a, violates=b, parameters=mech.parameters(),
            inputs=tuple(u),
        )  # fmt: skip


@cache
def _found(s: InputSeparation, b: Family) -> tuple[Mechanism, list[np.ndarray], float] | None:
    """The first small instance and input whose expression is enclosed away from zero."""
    sizes = [2] if paired(b) else [1, 2]
    for u in s.inputs:
        for n in sizes:
            for seed in range(4):
                mech = b.init(d=s._width, n=n, p=s._width, seed=seed).map(rounded)
                try:
                    y = outputs(mech, u)
                except DomainError:  # not defined there: the weights of zero tokens have the sum 0
                    continue
                if np.abs(s.invariant.expression(y)).max() < CLEAR:
                    continue
                with precision(BITS):
                    exact = mech.map(balls)
                    enclosed = s.invariant.expression([exact(balls(x)) for x in u])
                    gap = max(below(e) for e in enclosed.flat)
                if gap > 0:
                    return mech, u, gap
    return None


def outputs(mech: Mechanism, u: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs on several inputs; whether states may grow does not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)
        return [mech(x) for x in u]


def rounded(x: np.ndarray) -> np.ndarray:
    """Parameters rounded to multiples of 1/64, exactly: a decay of 31/32 stays below 1."""
    return np.round(64 * x) / 64


SUPERPOSITION = InputSeparation(
    known.SUPERPOSITION,
    lambda f, t: t.affine and t.constant,
    inputs=(
        [np.array([[1.0]]), np.array([[2.0]])],
        [np.array([[1.0], [2.0]]), np.array([[2.0], [4.0]])],
    ),
)

CHANNELS = InputSeparation(
    known.CHANNELS,
    lambda f, t: t.affine and t.constant and all(x.axes[0] == "p" for x in f.spec.values()),
    inputs=(
        [np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]])],
        [np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]])],
    ),
)
