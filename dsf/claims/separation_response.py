"""The GRU: its response to a constant token, and one step of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.claims import having
from dsf.claims.exact_tokens import BITS, Letter, ball, outputs, tokens
from dsf.claims.reading import REPRODUCED, at_most, many, require, table, witness
from dsf.claims.reading import number as float_number
from dsf.claims.separation import LetterClaim, reproduced
from dsf.claims.sides import side
from dsf.core import ops
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.core.worlds.modular import Field, number, vanishing

PIECES = 64  # of [0, 1], on each of which the derivative is enclosed
MOST_BITS = 10000
LARGEST = 100  # states


@dataclass(frozen=True, eq=False, kw_only=True)
class ByResponse(LetterClaim, kind="separation/response"):
    """A response that obeys no linear recurrence of order n + 1: determinants away from 0.

    For families also the argument for all n.
    """

    lower: float = witness(float_number)
    has: Family | AnyRecurrence = witness(side)
    states: tuple[int, ...] = witness(many(at_most(LARGEST)))
    bits: tuple[int, ...] = witness(many(at_most(MOST_BITS)))
    residuals: Mapping[str, float] = witness(table(float_number))

    @property
    def statement(self) -> str:
        start = f"{self.violates} is not nested in {self.has}: its response to a constant token"
        require(self.states, "no size is given")
        if len(self.states) == 1:
            n = self.states[0]
            return f"{start} obeys no linear recurrence of order {n + 1} ({2 * n + 3} tokens)"
        return (
            f"{start} obeys no linear recurrence of order n+1 (2n+3 tokens; n = {self.states[0]}.."
            f"{self.states[-1]} by determinants, every n by its fixed point; "
            f"{having.where(self.has)})"
        )

    def check(self) -> None:
        self.fit("x")
        sizes = self.states
        require(len(self.bits) == len(sizes), "a number of bits is needed for each size")
        names = {f"determinant {n}" for n in sizes}
        require(self.residuals.keys() == names, f"the residuals must be {', '.join(sorted(names))}")
        for n, bits in zip(sizes, self.bits, strict=True):
            require(bits > 0, "at least one bit is needed")
            with precision(bits):
                found = self._determinant(n)
        reproduced(self.lower, found)
        if isinstance(self.has, AnyRecurrence):
            fits = self.has.current_token_only and sizes == (self.has.n,)
            require(fits, f"nothing of order {sizes} + 1 holds for {self.has}")
            return
        n = len(sizes)
        require(n > 1 and sizes == tuple(range(1, n + 1)), "the sizes must be 1, 2, ...")
        with precision(BITS):
            _every_n(self.violates, self.letters["x"], self.constants)
        having.response(self.has)

    def _determinant(self, n: int) -> Any:
        y = outputs(self.violates, self.letters, self.constants, "x" * (2 * n + 3))
        require(y.shape[1] == 1, "one output is expected")
        found, told = hankel_determinant(y[:, 0]), self.residuals[f"determinant {n}"]
        require(not found.contains(0), f"the determinant for n = {n} is not decided")
        near = abs(told - float(found)) <= REPRODUCED * abs(float(found))
        require(near, f"the determinant for n = {n} is {float(found):.12g}, not {told:.12g}")
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class ByStep(LetterClaim, kind="separation/affine-step"):
    """A step that is not affine in the state: f(1/2) differs from (f(0) + f(1))/2."""

    lower: float = witness(float_number)
    has: Family | AnyRecurrence = witness(side)

    @property
    def statement(self) -> str:
        return (
            f"{self.violates} is not nested in {self.has} as a state map: its step is not affine "
            f"in the state (midpoint defect, 1 token{self._where()})"
        )

    def _where(self) -> str:
        return f"; {having.where(self.has)}" if isinstance(self.has, Family) else ""

    def check(self) -> None:
        self.fit("x")
        mech = self.violates.without_parameters()
        with precision(BITS):
            tok = tokens(self.letters, self.constants, "x")
            image = []
            for h in (0, 1, 2):
                S = mech.advance(tok, State(ball([[Fraction(h, 2)]])))[1].S
                require(np.shape(S) == (1, 1), "one state is expected")
                image.append(S[0, 0])
            reproduced(self.lower, (image[0] + image[2]) / 2 - image[1])
        if isinstance(self.has, Family):
            having.affine(self.has, readout=False)


def hankel_determinant(y: Any) -> Any:
    """det [y_{i+j}] of the square Hankel matrix of an odd number of balls."""
    import flint

    m = (len(y) + 1) // 2
    return flint.arb_mat([[y[i + j] for j in range(m)] for i in range(m)]).det()


def _every_n(f: Family, x: Letter, constants: Letter) -> None:
    """What Koenigs' linearisation needs: f maps [0, 1] into itself and 0 < f' < 1 on it.

    f(h) = (1 - z) h + z T,  z = s(1 + h),  T = tanh(1 + r h),  r = s(1 + h), s the sigmoid.
    """
    import flint

    numbers = [e for group in (x, constants) for array in group.values() for e in array.flat]
    require(all(e == 1 for e in numbers), "the argument for every n is for weights and token 1")

    def gate(h: Any) -> Any:
        return _of(ops.sigmoid, 1 + h)

    def value(h: Any) -> Any:
        z = gate(h)
        return (1 - z) * h + z * _of(ops.tanh, 1 + z * h)

    def slope(h: Any) -> Any:
        z = gate(h)
        dz, T = z * (1 - z), _of(ops.tanh, 1 + z * h)
        return (1 - z) - dz * h + dz * T + z * (1 - T * T) * (z + dz * h)

    for i in range(PIECES):
        piece = flint.arb((2 * i + 1) / (2 * PIECES), 1 / (2 * PIECES))
        inside = bool(slope(piece) > 0) and bool(slope(piece) < 1)
        require(inside, "the slope of the step leaves (0, 1)")
    found = vanishing(lambda F: _step_gap(F, f, x | constants, value))
    require(found, "this is not the step of that mechanism")
    inside = bool(value(flint.arb(0)) > 0) and bool(value(flint.arb(1)) < 1)
    require(inside, "the step does not map [0, 1] into itself")  # f is increasing


def _of(f: Callable[[Any], Any], x: Any) -> Any:
    """A function of `ops` of one number."""
    return f(np.array([x], dtype=object))[0]


def _step_gap(F: Field, f: Family, numbers: Letter, value: Callable[[Any], Any]) -> list[Any]:
    """The difference between the step of a family and a function, at a free state."""
    h = F.free("h")
    residue = np.frompyfunc(lambda e: number(e, F), 1, 1)
    tok = Tokens(**{k: np.asarray(residue(v), dtype=object) for k, v in numbers.items()})
    S = f.without_parameters().advance(tok, State(np.array([[h]], dtype=object)))[1].S
    return [S[0, 0] - value(h)]
