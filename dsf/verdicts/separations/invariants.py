"""The invariants that are equations between outputs on a few words.

Notation: F(w) are the outputs on the word w, F(w)[-1] the last one; all statements hold for every
output coordinate.  Words are tokens, so an invariant of a family is also one of every family that
is obtained from it by a memoryless token map without position.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.family import Family
from dsf.core.kinds import Attention
from dsf.verdicts.separations.core import WordSeparation
from dsf.verdicts.separations.traits import traits
from dsf.verdicts.separations.words import Alphabet


def window(family: Family) -> int:
    """The number of tokens that attention with a finite window sees; 0 for everything else."""
    mech = family.bare()
    return mech.lookback + 1 if isinstance(mech, Attention) and mech.lookback is not None else 0


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


# ------------------------------------------------------------------- order
def _swapped_words(a: Family, b: Family) -> tuple[str, ...]:
    # The window must not see both of the swapped tokens.
    tail = "z" * max(1, window(b) - 1)
    return "xy" + tail, "yx" + tail


ORDER_BLIND = WordSeparation(
    name="order-blind",
    theorem="Attention without positions, softmax or linear, does not see the order of earlier "
    "tokens: F(xyz)[-1] = F(yxz)[-1].",
    proof="The last output is f(z, sum_j g(z, x_j)) (normaliser included), and a sum does not "
    "depend on the order of its terms. For retention with x = (1, 2, 3) against (2, 1, 3), q = k "
    "= v = x, the gap is 9 gamma (1 - gamma): no gamma in (0, 1) closes it. Two tokens cannot "
    "separate: only one of them is earlier.",
    reference="dsf2026",
    words=_swapped_words,
    expression=lambda F: F[0][-1] - F[1][-1],
    predicate=lambda family: not family.facts.order_aware,
)

COMMUTING = WordSeparation(
    name="commuting transitions",
    theorem="Where transitions commute, what a token leaves behind does not depend on the order "
    "of the next two: F(axyz)[-1] - F(bxyz)[-1] = F(ayxz)[-1] - F(byxz)[-1].",
    proof="Two runs that differ in their first token only have states that differ by d after it, "
    "and C(z) A(z) A(y) A(x) d at the end: all other terms are common and cancel, because state "
    "and readout are affine. A(x) A(y) = A(y) A(x) for diagonal transitions (over C too) and for "
    "constant ones. Order-blind maps have it because F(axyz)[-1] = F(ayxz)[-1]; so has attention "
    "with a window, which sees both of x and y or not a.",
    reference="dsf2026",
    words=lambda a, b: ("axyz", "bxyz", "ayxz", "byxz"),
    expression=lambda F: F[0][-1] - F[1][-1] - F[2][-1] + F[3][-1],
    predicate=lambda family: (
        not family.facts.order_aware
        or window(family) > 0
        or (traits(family).affine and traits(family).diagonal and not family.bare().lookback)
    ),
    tie=silent("x", "y", "z"),
)

ADDITIVE = WordSeparation(
    name="additive in the tokens",
    theorem="A time-invariant linear system adds up its tokens: F(xz)[-1] - F(yz)[-1] = "
    "F(xw)[-1] - F(yw)[-1].",
    proof="With constant A, B, C, D the last output is sum_j h_{L-1-j}(x_j), one term per token, "
    "whatever the memoryless map from tokens to inputs; a mixed difference of it vanishes. One "
    "token cannot separate: any function of it is such a sum.",
    reference="dsf2026",
    words=lambda a, b: ("xz", "yz", "xw", "yw"),
    expression=lambda F: F[0][-1] - F[1][-1] - F[2][-1] + F[3][-1],
    predicate=lambda family: traits(family).affine and traits(family).constant,
)

# -------------------------------------------------------------- one token repeated
CONSTANTS = WordSeparation(
    name="constants to constants",
    theorem="Normalised weights turn a constant token sequence into a constant: F(xx)[1] = "
    "F(xx)[0].",
    proof="The weights of a row sum to 1 and all values are equal, so every output is that value.",
    reference="dsf2026",
    words=lambda a, b: ("xx",),
    expression=lambda F: F[0][1] - F[0][0],
    predicate=lambda family: family.facts.normalised,
)


def _geometric(s: Any) -> Any:
    """d_1^2 - d_0 d_2 for the differences d of four numbers; 0 if they are A + B r^t or A + B t."""
    d = [s[i + 1] - s[i] for i in range(3)]
    return d[1] * d[1] - d[0] * d[2]


RESPONSE = WordSeparation(
    name="one exponential in the response",
    theorem="With a scalar decay, or with one delta step per token, the response to a constant "
    "token moves by a geometric sequence: d_1^2 = d_0 d_2 for d_i = F(xxxx)[i+1] - F(xxxx)[i].",
    proof="Scalar: S_t = a S_{t-1} + B x gives S_{t+1} - S_t = a^{t+1} B x (read before the "
    "update: one step later). Delta: the state stays in the span of k, where a (I - b k k') acts "
    "as the number a (1 - b |k|^2). Normalised: all d_i = 0. Three tokens cannot separate: any "
    "two differences are geometric.",
    reference="dsf2026",
    words=lambda a, b: ("xxxx",),
    expression=lambda F: _geometric(F[0]),
    degree=2,
    predicate=lambda family: (
        family.facts.normalised
        or (
            traits(family).affine
            and traits(family).tokenwise
            and (traits(family).scalar or traits(family).delta)
        )
    ),
)

MEMORY = WordSeparation(
    name="one exponential in the memory",
    theorem="With a scalar decay, or with one lossless delta step per token, what a token leaves "
    "behind while another one is repeated is A + B r^t: d_1^2 = d_0 d_2 for the differences d of "
    "s_t = F(azzzz)[t] - F(bzzzz)[t], t = 1..4.",
    proof="s_t = C A(z)^t d with one d, as the other terms cancel. Scalar: a(z)^t C d. Delta "
    "with unit factor: (I - b k k')^t = I + ((1 - b |k|^2)^t - 1) k k'/|k|^2.",
    reference="dsf2026",
    words=lambda a, b: ("azzzz", "bzzzz"),
    expression=lambda F: _geometric((F[0] - F[1])[1:]),
    degree=2,
    predicate=lambda family: (
        traits(family).affine
        and traits(family).tokenwise
        and (traits(family).scalar or (traits(family).delta and traits(family).lossless))
    ),
)


# ------------------------------------------------------------------ windows
def _window_words(a: Family, b: Family) -> tuple[str, ...]:
    tail = "z" * (window(a) or window(b) or 1)
    return "a" + tail, "b" + tail


WINDOW = WordSeparation(
    name="finite window",
    theorem="Attention over the last w tokens has forgotten a token after w steps: F(a z^w)[-1] "
    "= F(b z^w)[-1].",
    proof="The last output is a function of the last w tokens, which the two words share.",
    reference="dsf2026",
    words=_window_words,
    expression=lambda F: F[0][-1] - F[1][-1],
    predicate=lambda family: window(family) > 0,
    tie=silent("z"),
)
