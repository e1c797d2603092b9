"""Checkers of separations: from exact tokens alone, in rational or ball arithmetic.

Each checker reads the stored tokens, makes sure that they lie in their domains, runs the equations
of the family that is said to violate the invariant, and bounds the violation away from zero.  The
other side, "every member has it", is the theorem named in the certificate; here it is put to the
test on random rational tokens of several sizes, which would refute a false claim but cannot prove
a true one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import factorial, prod
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import (
    draw_letters,
    even_state,
    get,
    named,
    opponent,
    outputs,
    read_letters,
    require,
)
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.family import Family, family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.tokens import Tokens

BITS = 300
SLACK = 1e-9

# the end of the sentence "B is not nested in A: ..."
SENTENCES = {
    "order-blind": "{has} does not see the order of earlier tokens, {violates} does",
    "commuting transitions": "the transitions of {has} commute, so what a token leaves does not "
    "depend on the order of the next two; in {violates} it does",
    "additive in the tokens": "{has} adds up what its tokens contribute, in {violates} two tokens "
    "multiply",
    "constants to constants": "{has} turns a constant token into a constant output (its weights "
    "sum to 1), {violates} does not",
    "one exponential in the response": "a constant token moves the output of {has} by a geometric "
    "sequence, that of {violates} not",
    "one exponential in the memory": "what a token leaves in {has} fades as a constant plus one "
    "exponential, in {violates} not",
    "finite window": "{has} has forgotten a token after its window, {violates} has not",
}


def sentence(invariant: str, has: Any, violates: Any, length: int) -> str:
    """The claim of a separation by words."""
    reason = SENTENCES[invariant].format(has=has, violates=violates)
    return f"{violates} is not nested in {has}: {reason} ({length} tokens)"


def rank_sentence(has: Any, violates: Any, sizes: list[int]) -> str:
    """The claim that no recurrence with so many states is softmax attention."""
    if len(sizes) == 1:
        n = sizes[0]
        return (
            f"{violates} is not nested in {has}: {2 * n + 2} tokens give it a Hankel block of rank "
            f"{n + 1} (Vandermonde determinant {prod(map(factorial, range(1, n + 1)))})"
        )
    return (
        f"{violates} is not nested in {has}: 2n+2 tokens give it a Hankel block of rank n+1 for "
        f"every n (Vandermonde determinant prod m!, recomputed for n = {sizes[0]}..{sizes[-1]}), "
        f"n states of {has} give rank n"
    )


# ------------------------------------------------------------ words and expressions
def _window(f: Family) -> int:
    mech = f.bare()
    return mech.lookback + 1 if hasattr(mech, "support") and mech.lookback is not None else 0


def _second_difference(s: Any) -> Any:
    u, v, w = s[1] - s[0], s[2] - s[1], s[3] - s[2]
    return v * v - u * w


Rule = tuple[Callable[[Family, Family], list[str]], Callable[[list[Any]], Any]]

RULES: dict[str, Rule] = {
    "order-blind": (
        lambda a, b: ["xy" + "z" * max(1, _window(b) - 1), "yx" + "z" * max(1, _window(b) - 1)],
        lambda F: F[0][-1] - F[1][-1],
    ),
    "commuting transitions": (
        lambda a, b: ["axyz", "bxyz", "ayxz", "byxz"],
        lambda F: (F[0][-1] - F[1][-1]) - (F[2][-1] - F[3][-1]),
    ),
    "additive in the tokens": (
        lambda a, b: ["xz", "yz", "xw", "yw"],
        lambda F: (F[0][-1] - F[1][-1]) - (F[2][-1] - F[3][-1]),
    ),
    "constants to constants": (lambda a, b: ["xx"], lambda F: F[0][1] - F[0][0]),
    "one exponential in the response": (
        lambda a, b: ["xxxx"],
        lambda F: _second_difference(F[0]),
    ),
    "one exponential in the memory": (
        lambda a, b: ["azzzz", "bzzzz"],
        lambda F: _second_difference([x - y for x, y in zip(F[0][1:], F[1][1:], strict=True)]),
    ),
    "finite window": (
        lambda a, b: ["a" + "z" * _window(a), "b" + "z" * _window(a)],
        lambda F: F[0][-1] - F[1][-1],
    ),
}


# ------------------------------------------------------------------- checkers
def words(c: Certificate) -> None:
    """An expression in the outputs on a few words: zero for one family, not for the other."""
    from dsf.core.worlds import precision

    w = c.witnesses
    name = str(get(w, "invariant"))
    require(name in RULES, f"no invariant named {name!r}")
    expected, expression = RULES[name]
    has, violates = named(w, "has"), named(w, "violates")
    told = [str(x) for x in get(w, "words")]
    require(told == expected(has, violates), f"{name} is not stated on the words {told}")
    letters, constants = read_letters(violates, w)
    require(set("".join(told)) <= set(letters), "a letter of the words is missing")
    with precision(BITS):
        F = [outputs(violates, letters, constants, word) for word in told]
        gap = max(below(e) for e in np.ravel(expression(F)))
        reproduced(c.lower, gap)
        _sampled(has, told, expression)
    common(c, Scope.RECURRENCE, Strength.ENCLOSED)
    length = max(len(x) for x in told)
    require(c.claim == sentence(name, has, violates, length), "the claim says something else")


def _sampled(has: Family, told: list[str], expression: Callable[[list[Any]], Any]) -> None:
    """Random rational tokens of the family that is said to have the invariant do have it."""
    names = "".join(sorted(set("".join(told))))
    for seed in range(4):
        rng = np.random.default_rng(1000 + seed)
        n = 2 * (1 + seed % 2) if even_state(has) else 1 + seed % 3
        letters, constants = draw_letters(has, names, n, rng)
        F = [outputs(has, letters, constants, word) for word in told]
        for e in np.ravel(expression(F)):
            require(bool(e.contains(0)), f"{has} does not have the invariant at all")
            require(bool(abs(e) < 1e-30), f"the sample of {has} decides nothing: {e}")


def rank(c: Certificate) -> None:
    """Integer Vandermonde determinants, and that softmax really has those entries."""
    import flint

    from dsf.core.worlds import precision

    w = c.witnesses
    violates, sizes = named(w, "violates"), [int(n) for n in get(w, "states")]
    require(violates == family("softmax"), "this argument is about softmax attention")
    for n, keys, bases, told in zip(
        sizes, get(w, "keys"), get(w, "bases"), get(w, "determinants"), strict=True
    ):
        require(len(keys) == n + 1 == len(bases), f"n = {n} needs n+1 keys and n+1 queries")
        require(all(int(b) > 0 for b in bases), "queries are logarithms of positive integers")
        powers = [[int(b) ** int(k) for k in keys] for b in bases]
        determinant = flint.fmpz_mat(powers).det()
        require(determinant != 0, f"the block for n = {n} is singular")
        require(str(determinant) == str(told), f"the determinant for n = {n} is {determinant}")
        with precision(BITS):
            _softmax_block(violates, keys, bases, powers)
    has = opponent(w)
    if isinstance(has, AnyRecurrence):
        require(sizes == [has.n], f"{has} has not {sizes} states")
    else:
        mech = has.bare()
        bounded = not hasattr(mech, "support") or mech.lookback is not None
        require(bounded, f"the state of {has} grows")
        require(sizes == list(range(1, len(sizes) + 1)), "the sizes must be 1, 2, ...")
    require(c.lower == sizes[-1] + 1, f"this proves {sizes[-1] + 1} states")
    common(c, Scope.RECURRENCE, Strength.EXACT)
    require(c.claim == rank_sentence(has, violates, sizes), "the claim says something else")


def _softmax_block(f: Family, keys: list[int], bases: list[int], powers: list[list[int]]) -> None:
    """Softmax on these tokens encloses powers[i][j] / (sum_j powers[i][j] + i + 1)."""
    import flint

    m = len(keys)
    L = 2 * m
    q = [flint.arb(0)] * m + [flint.arb(int(b)).log() for b in bases]
    k = [flint.arb(int(e)) for e in keys] + [flint.arb(0)] * m
    column = [np.array(x, dtype=object).reshape(L, 1) for x in (q, k)]
    v = np.array([[flint.arb(int(i == j)) for j in range(L)] for i in range(L)], dtype=object)
    M = f.bare().advance(Tokens(q=column[0], k=column[1], v=v), State())[0]
    for i, row in enumerate(powers):
        total = sum(row) + i + 1
        for j, power in enumerate(row):
            entry = M[m + i, 0, j]
            require(bool(entry.contains(flint.fmpq(power, total))), "softmax has another block")
            require(bool(entry.rad() < 1e-30), "the enclosure of the block decides nothing")


# --------------------------------------------------------------------- common
def common(c: Certificate, scope: Scope, strength: Strength) -> None:
    require(c.upper is None, "this proves no upper bound")
    require(c.scope is scope, f"the scope must be {scope.value}")
    require(c.strength is strength, f"this argument is {strength.value}, not {c.strength.value}")


def below(ball: Any) -> float:
    """A float certainly not above |ball|; 0 where nothing follows."""
    if not ball.is_finite() or ball.contains(0):
        return 0.0
    return math.nextafter(float(abs(ball).lower()), 0.0)


def reproduced(told: Any, found: float) -> None:
    """The stored bound is positive and is the one that follows from the witnesses."""
    require(told is not None and told > 0.0, "the gap must be positive")
    require(told <= found, f"only a gap of {found:.12g} follows, not {told:.12g}")
    require(told >= found * (1 - SLACK), f"the witnesses prove {found:.12g}: were they changed?")
