"""Checkers for the GRU: its response to a constant token, and one step of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.claims.exact_tokens import (
    ball,
    draw_letters,
    even_state,
    get,
    named,
    opponent,
    outputs,
    read_letters,
    require,
)
from dsf.claims.separation import BITS, below, common, reproduced
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.tokens import Tokens

PIECES = 64  # of [0, 1], on each of which the derivative is enclosed


def response_sentence(has: Any, violates: Any, sizes: list[int]) -> str:
    """The claim that a response obeys no linear recurrence of order n + 1."""
    if len(sizes) == 1:
        n = sizes[0]
        return (
            f"{violates} is not nested in {has}: its response to a constant token obeys no linear "
            f"recurrence of order {n + 1} ({2 * n + 3} tokens)"
        )
    return (
        f"{violates} is not nested in {has}: its response to a constant token obeys no linear "
        f"recurrence of order n+1 (2n+3 tokens; n = {sizes[0]}..{sizes[-1]} by determinants, every "
        f"n by its fixed point)"
    )


def step_sentence(has: Any, violates: Any) -> str:
    """The claim that a step is not affine."""
    return (
        f"{violates} is not nested in {has} as a state map: its step is not affine in the state "
        f"(midpoint defect, 1 token)"
    )


def hankel_determinant(y: Any) -> Any:
    """det [y_{i+j}] of the square Hankel matrix of an odd number of balls."""
    import flint

    m = (len(y) + 1) // 2
    return flint.arb_mat([[y[i + j] for j in range(m)] for i in range(m)]).det()


def response(c: Certificate) -> None:
    """Every determinant is enclosed away from 0; for families also the argument for all n."""
    from dsf.core.worlds import precision

    w = c.witnesses
    has, violates = opponent(w), named(w, "violates")
    letters, constants = read_letters(violates, w)
    sizes = [int(n) for n in get(w, "states")]
    require(set(letters) == {"x"} and len(sizes) > 0, "the word must repeat the letter x")
    for n, bits in zip(sizes, get(w, "bits"), strict=True):
        with precision(int(bits)):
            y = outputs(violates, letters, constants, "x" * (2 * n + 3))
            require(y.shape[1] == 1, "one output is expected")
            found = hankel_determinant(y[:, 0])
            require(not found.contains(0), f"the determinant for n = {n} is not decided")
            told = float(c.residuals.get(f"determinant {n}", np.nan))
            require(
                abs(told - float(found)) <= 1e-9 * abs(float(found)),
                f"the determinant for n = {n} is {float(found):.12g}, not {told:.12g}",
            )
    reproduced(c.lower, below(found))
    if isinstance(has, AnyRecurrence):
        fits = has.current_token_only and sizes == [has.n]
        require(fits, f"nothing of order {sizes} + 1 holds for {has}")
    else:
        require(sizes == list(range(1, len(sizes) + 1)), "the sizes must be 1, 2, ...")
        with precision(BITS):
            _every_n(violates, letters["x"], constants)
        with precision(4 * BITS):
            _sampled(has)
    common(c, Scope.RECURRENCE, Strength.ENCLOSED)
    require(c.claim == response_sentence(has, violates, sizes), "the claim says something else")


def _every_n(f: Family, x: dict[str, np.ndarray], constants: dict[str, np.ndarray]) -> None:
    """What Koenigs' linearisation needs: f maps [0, 1] into itself and 0 < f' < 1 on it.

    f(h) = (1 - z) h + z T,  z = s(1 + h),  T = tanh(1 + r h),  r = s(1 + h), s the sigmoid.
    """
    import flint

    numbers = [e for group in (x, constants) for array in group.values() for e in array.flat]
    require(all(e == 1 for e in numbers), "the argument for every n is for weights and token 1")

    def gate(h: Any) -> Any:
        return 1 / (1 + (-1 - h).exp())

    def value(h: Any) -> Any:
        z = gate(h)
        return (1 - z) * h + z * (1 + z * h).tanh()

    def slope(h: Any) -> Any:
        z = gate(h)
        dz, T = z * (1 - z), (1 + z * h).tanh()
        return (1 - z) - dz * h + dz * T + z * (1 - T * T) * (z + dz * h)

    tok = Tokens(**{k: ball(v) for k, v in (x | constants).items()})
    for i in range(PIECES):
        piece = flint.arb((2 * i + 1) / (2 * PIECES), 1 / (2 * PIECES))
        require(bool(slope(piece) > 0) and bool(slope(piece) < 1), "f' leaves (0, 1)")
        point = np.array([[flint.arb(i) / PIECES]], dtype=object)
        told = f.bare().advance(tok, State(point))[1].S[0, 0]
        require(bool(told.overlaps(value(point[0, 0]))), "this is not the step of that mechanism")
    inside = bool(value(flint.arb(0)) > 0) and bool(value(flint.arb(1)) < 1)
    require(inside, "f does not map [0, 1] into itself")  # f is increasing


def _sampled(has: Family) -> None:
    """Random rational tokens of the other family do obey a recurrence of order n + 1."""
    double = 2 if any("_im" in k for k in has.spec) else 1  # complex states count twice
    for seed in range(2):
        n = 2 if even_state(has) else 1 + seed
        letters, constants = draw_letters(has, "x", n, np.random.default_rng(3000 + seed))
        y = outputs(has, letters, constants, "x" * (2 * double * n + 3))
        for column in y.T:
            determinant = hankel_determinant(list(column))
            require(bool(determinant.contains(0)), f"{has} obeys no such recurrence either")
            require(bool(abs(determinant) < 1e-100), f"the sample of {has} decides nothing")


def affine_step(c: Certificate) -> None:
    """f(1/2) differs from (f(0) + f(1))/2."""
    from dsf.core.worlds import precision

    w = c.witnesses
    has, violates = opponent(w), named(w, "violates")
    letters, constants = read_letters(violates, w)
    mech = violates.bare()
    require(set(letters) == {"x"}, "one letter x is expected")
    with precision(BITS):
        tok = Tokens(**{k: ball(v) for k, v in (letters["x"] | constants).items()})
        image = []
        for h in (0, 1, 2):
            start = ball(np.array([[h]], dtype=object)) / 2
            S = mech.advance(tok, State(start))[1].S
            require(np.shape(S) == (1, 1), "one state is expected")
            image.append(S[0, 0])
        reproduced(c.lower, below((image[0] + image[2]) / 2 - image[1]))
    if isinstance(has, Family):
        other = has.bare()
        require(not hasattr(other, "step") and not hasattr(other, "rows"), f"{has} is no LTV")
    common(c, Scope.RECURRENCE, Strength.ENCLOSED)
    require(c.claim == step_sentence(has, violates), "the claim says something else")
