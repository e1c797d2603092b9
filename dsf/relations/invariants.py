"""Invariants: named properties with a theorem, and the words or inputs on which they are stated.

A separation claims that every member of some families has an invariant and that a small exact
input of another family violates it.  Here is what is claimed; `dsf.verdicts.separations` finds
violations, `dsf.claims` recomputes them.

Notation: F(w) are the outputs on the word w, F(w)[-1] the last one; all statements hold for every
output coordinate.  Words are tokens, so an invariant of a family is also one of every family that
is obtained from it by a memoryless token map without position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.certificate import Scope
from dsf.core.family import Family
from dsf.core.kinds import Attention, Recurrence
from dsf.core.state import State

Outputs = list[Any]  # one array [L coordinates] per word, or [L d] per input


@dataclass(frozen=True, eq=False)
class Invariant:
    """A property that families have or violate.

    theorem   who has it, in one sentence;  proof: why, in a few lines
    closed    whether limits of families that have it have it too (then it excludes limits as well)
    scope     recurrence: all token sequences, tokens related by any memoryless map that does not
              see the position;  mechanism: the map from inputs u, all parameters
    """

    name: str
    theorem: str
    proof: str
    closed: bool = True
    scope: Scope = Scope.RECURRENCE
    reference: str = "dsf2026"


@dataclass(frozen=True, eq=False)
class WordInvariant(Invariant):
    """An invariant of the form: this expression in the outputs on these words is zero.

    reason      why `violates` is not nested in `has`, as the end of a sentence
    words       the words, for the family that has it and the one that violates it
    expression  [coordinates] from the outputs on the words
    degree      of the expression in the outputs
    from_any_state  whether it is zero from every state, not only from the start
    """

    reason: str = ""
    words: Callable[[Family, Family], tuple[str, ...]] = lambda a, b: ()
    expression: Callable[[Outputs], Any] = lambda F: F[0][-1]
    degree: int = 1
    from_any_state: bool = False


@dataclass(frozen=True, eq=False)
class InputInvariant(Invariant):
    """An invariant of the form: this expression in the outputs for these inputs is zero.

    reason      why `violates` is not nested in `has`, as the end of a sentence
    fits        whether the expression is stated on a pair of inputs [L d]
    pair        such a pair from two free inputs
    expression  from the outputs [L d] for the pair
    """

    reason: str = ""
    fits: Callable[[list[np.ndarray]], bool] = lambda u: False
    pair: Callable[[np.ndarray, np.ndarray], list[np.ndarray]] = lambda u, w: [u, w]
    expression: Callable[[Outputs], Any] = lambda y: y[0]


# ------------------------------------------------------------------- structure
def is_ltv(family: Family) -> bool:
    """Whether the step of a family is that of a linear time-varying system."""
    return issubclass(family.cls, Recurrence)


def grows(family: Family) -> bool:
    """Whether what a family carries grows with the input: attention over the whole past."""
    mech = family.without_parameters()
    return isinstance(mech, Attention) and mech.lookback is None


def window(family: Family) -> int:
    """The number of tokens that attention with a finite window sees; 0 for everything else."""
    mech = family.without_parameters()
    return mech.lookback + 1 if isinstance(mech, Attention) and mech.lookback is not None else 0


def paired(family: Family) -> bool:
    """Whether the state is made of pairs, so that n is even."""
    return any("n/2" in f.axes for f in family.spec.values())


def double(family: Family) -> int:
    """How many real states one state counts as: 2 where it is complex, and not half of a pair."""
    draw = family.draw_tokens(np.random.default_rng(0), 1, n=2, p=1, d=1)
    S = family.without_parameters().advance(draw, State())[1].S
    return 2 if S is not None and S.dtype.kind == "c" and not paired(family) else 1


# ------------------------------------------------------------ words and expressions
def _swapped(a: Family, b: Family) -> tuple[str, ...]:
    # The window must not see both of the swapped tokens.
    tail = "z" * max(1, window(b) - 1)
    return "xy" + tail, "yx" + tail


def _past_the_window(a: Family, b: Family) -> tuple[str, ...]:
    tail = "z" * (window(a) or window(b) or 1)
    return "a" + tail, "b" + tail


def _mixed_difference(F: Outputs) -> Any:
    return F[0][-1] - F[1][-1] - F[2][-1] + F[3][-1]


def _geometric(s: Any) -> Any:
    """d_1^2 - d_0 d_2 for the differences d of four numbers; 0 if they are A + B r^t or A + B t."""
    d = [s[i + 1] - s[i] for i in range(3)]
    return d[1] * d[1] - d[0] * d[2]


def _doubled(u: list[np.ndarray]) -> bool:
    return u[0].shape[-1] == 1 and bool(np.all(u[1] == 2 * u[0]))


def _one_channel(u: list[np.ndarray]) -> bool:
    return u[0].shape[-1] == 2 and bool(np.all(u[0][:, 1] == u[1][:, 1]))


LAGS = 39  # of a sign pattern: cos(lag), lag = 0 .. 39, changes its sign 12 times
STEPS = 6  # repetitions for the statement that something stays, or moves by equal steps


# ------------------------------------------------------------------- the invariants
ORDER_BLIND = WordInvariant(
    name="order-blind",
    theorem="Attention without positions, softmax or linear, does not see the order of earlier "
    "tokens: F(xyz)[-1] = F(yxz)[-1].",
    proof="The last output is f(z, sum_j g(z, x_j)) (normaliser included), and a sum does not "
    "depend on the order of its terms. For retention with x = (1, 2, 3) against (2, 1, 3), q = k "
    "= v = x, the gap is 9 gamma (1 - gamma): no gamma in (0, 1) closes it. Two tokens cannot "
    "separate: only one of them is earlier.",
    reason="{has} does not see the order of earlier tokens, {violates} does",
    words=_swapped,
    expression=lambda F: F[0][-1] - F[1][-1],
    from_any_state=True,
)

FINITE_STATE = Invariant(
    name="finite state",
    theorem="A recurrence with n states per value channel has Hankel blocks M[k:, :k] of rank at "
    "most n; softmax attention reaches rank n + 1 with 2n + 2 tokens, for every n.",
    proof="Fix all queries and keys. Outputs after the cut are an affine function of the n "
    "numbers that the state holds there, so they lie in an affine space of dimension n, however "
    "the past was turned into these numbers: the map from earlier values to later outputs has "
    "rank at most n. Where the outputs are a locally Lipschitz function of the state instead "
    "(normalisers, the GRU), they cannot fill R^(n+1) from n numbers either. For keys 0..n and "
    "queries log(i+1) the block is a row-scaled Vandermonde matrix of determinant prod m! > 0. "
    "With fewer tokens every cut has at most n tokens on one side.",
    reference="dewilde1998",
)

SIGN_CHANGES = Invariant(
    name="sign changes",
    theorem="With n real positive eigenvalues, what a token leaves behind while another one is "
    "repeated changes its sign at most n - 1 times.",
    proof="s_t = sum_i c_i l_i^t with l_i > 0 (diagonal transitions, or the symmetric I - b k "
    "k'). An exponential sum with n positive bases has at most n - 1 real zeros (Descartes' rule "
    "for exponential sums, by induction: divide by l_1^t, differentiate, use Rolle). If no "
    "eigenvalue of A(z) is real positive, s changes its sign for ever: a power series with "
    "coefficients of one sign from some index on is singular at a point of the positive axis "
    "(Vivanti-Pringsheim), and sum s_t x^t is singular at reciprocals of eigenvalues only; it does "
    "not end, as A(z) is then invertible (diagonal, no zero).",
)

COMMUTING = WordInvariant(
    name="commuting transitions",
    theorem="Where transitions commute, what a token leaves behind does not depend on the order "
    "of the next two: F(axyz)[-1] - F(bxyz)[-1] = F(ayxz)[-1] - F(byxz)[-1].",
    proof="Two runs that differ in their first token only have states that differ by d after it, "
    "and C(z) A(z) A(y) A(x) d at the end: all other terms are common and cancel, because state "
    "and readout are affine. A(x) A(y) = A(y) A(x) for diagonal transitions (over C too) and for "
    "constant ones. Order-blind maps have it because F(axyz)[-1] = F(ayxz)[-1]; so has attention "
    "with a window, which sees both of x and y or not a.",
    reason="what a token leaves in the output of {has} does not depend on the order of the next "
    "two, in {violates} it does",
    words=lambda a, b: ("axyz", "bxyz", "ayxz", "byxz"),
    expression=_mixed_difference,
    from_any_state=True,
)

ADDITIVE = WordInvariant(
    name="additive in the tokens",
    theorem="A time-invariant linear system adds up its tokens: F(xz)[-1] - F(yz)[-1] = "
    "F(xw)[-1] - F(yw)[-1].",
    proof="With constant A, B, C, D the last output is sum_j h_{L-1-j}(x_j), one term per token, "
    "whatever the memoryless map from tokens to inputs; a mixed difference of it vanishes. One "
    "token cannot separate: any function of it is such a sum.",
    reason="{has} adds up what its tokens contribute, in {violates} two tokens multiply",
    words=lambda a, b: ("xz", "yz", "xw", "yw"),
    expression=_mixed_difference,
    from_any_state=True,
)

CONSTANTS = WordInvariant(
    name="constants to constants",
    theorem="Normalised weights turn a constant token sequence into a constant: F(xx)[1] = "
    "F(xx)[0].",
    proof="The weights of a row sum to 1 and all values are equal, so every output is that value.",
    reason="{has} turns a constant token into a constant output (its weights sum to 1), {violates} "
    "does not",
    words=lambda a, b: ("xx",),
    expression=lambda F: F[0][1] - F[0][0],
)

RESPONSE = WordInvariant(
    name="one exponential in the response",
    theorem="With a scalar decay, or with one delta step per token, the response to a constant "
    "token moves by a geometric sequence: d_1^2 = d_0 d_2 for d_i = F(xxxx)[i+1] - F(xxxx)[i].",
    proof="Scalar: S_t = a S_{t-1} + B x gives S_{t+1} - S_t = a^{t+1} B x (read before the "
    "update: one step later). Delta: the state stays in the span of k, where a (I - b k k') acts "
    "as the number a (1 - b |k|^2). Normalised: all d_i = 0. Three tokens cannot separate: any "
    "two differences are geometric.",
    reason="a token that is repeated from the start moves the output of {has} by a geometric "
    "sequence (d_1^2 = d_0 d_2), but not that of {violates}",
    words=lambda a, b: ("xxxx",),
    expression=lambda F: _geometric(F[0]),
    degree=2,
)

MEMORY = WordInvariant(
    name="one exponential in the memory",
    theorem="With a scalar decay, or with one lossless delta step per token, what a token leaves "
    "behind while another one is repeated is A + B r^t: d_1^2 = d_0 d_2 for the differences d of "
    "s_t = F(azzzz)[t] - F(bzzzz)[t], t = 1..4.",
    proof="s_t = C A(z)^t d with one d, as the other terms cancel. Scalar: a(z)^t C d. Delta "
    "with unit factor: (I - b k k')^t = I + ((1 - b |k|^2)^t - 1) k k'/|k|^2.",
    reason="while one token is repeated, what an earlier one left in the output of {has} is a "
    "constant plus one exponential (d_1^2 = d_0 d_2), but not in {violates}",
    words=lambda a, b: ("azzzz", "bzzzz"),
    expression=lambda F: _geometric((F[0] - F[1])[1:]),
    degree=2,
    from_any_state=True,
)

WINDOW = WordInvariant(
    name="finite window",
    theorem="Attention over the last w tokens has forgotten a token after w steps: F(a z^w)[-1] "
    "= F(b z^w)[-1].",
    proof="The last output is a function of the last w tokens, which the two words share.",
    reason="{has} has forgotten a token after its window, {violates} has not",
    words=_past_the_window,
    expression=lambda F: F[0][-1] - F[1][-1],
    from_any_state=True,
)

INVERTIBLE = Invariant(
    name="invertible transitions",
    theorem="With invertible transitions, what a token left behind cannot vanish n steps in a "
    "row unless it was never there.",
    proof="s obeys the recurrence of the characteristic polynomial of A(z), whose lowest "
    "coefficient det A(z) is not 0; so it can be run backwards from n zeros, and s is 0 "
    "everywhere. A window of w tokens has s_{w-1} != 0 and s_t = 0 for all t >= w.",
    closed=False,
)

FORGETTING = Invariant(
    name="forgetting",
    theorem="Where 1 is no eigenvalue of a transition, what a token left behind cannot keep a "
    "value other than 0 for n + 1 steps.",
    proof="s obeys the recurrence of the characteristic polynomial p of A(z); if it keeps the "
    "value c for n + 1 steps, this reads p(1) c = 0, and p(1) != 0. So linear attention is a "
    "limit of gates that go to 1, and equal to none of them.",
    closed=False,
)

SETTLING = Invariant(
    name="settling",
    theorem="Where 1 is no eigenvalue of a transition, the response to a constant token cannot "
    "move by the same amount other than 0 n + 1 times.",
    proof="The differences of y_t = c + C A^t e obey the recurrence of the characteristic "
    "polynomial p of A; if they keep the value c, p(1) c = 0, and p(1) != 0. For delta steps with "
    "unit keys and b in (0, 2) the state stays in the span of the keys of the token, where their "
    "product shortens every vector: a step keeps the length of x only if k'x = 0.",
    closed=False,
)

RESPONSE_ORDER = Invariant(
    name="order of the response",
    theorem="With n states and coefficients from the current token only, the response y_t to a "
    "constant token obeys a linear recurrence of order n + 1, so the (n+2) x (n+2) Hankel "
    "determinant of y_0 .. y_{2n+2} is 0; for the GRU it is not, for any n.",
    proof="h_t = A h_{t-1} + b and y_t = C h_t + d give y_t = c + C A^t e: the characteristic "
    "polynomial of A times (x - 1) annihilates y. GRU with one state, all weights and the token "
    "1: h -> f(h) maps [0, 1] into itself with 0 < f' < 1 there, so h_t tends to the fixed point "
    "h* without reaching it and h_t = phi(m^t s) with s != 0, m = f'(h*), phi(m s) = f(phi(s)) "
    "(Koenigs). A linear recurrence leaves finitely many exponentials m^{kt}, so phi would be a "
    "polynomial and the equation hold for all real s; but f(h) -> 1 as h -> +oo and f(h) - h -> 0 "
    "as h -> -oo, which no polynomial that is not constant allows. With coefficients that may "
    "depend on the whole past every causal map is an LTV: the restriction to the current token is "
    "needed.",
)

SUPERPOSITION = InputInvariant(
    name="superposition",
    theorem="A time-invariant linear system doubles its output when its input is doubled.",
    proof="u enters linearly, and A, B, C, D do not depend on it. Products of gates, keys and "
    "values have degree 2 or more in u.",
    scope=Scope.MECHANISM,
    reason="{has} doubles its output when the input is doubled, {violates} does not",
    fits=_doubled,
    pair=lambda u, w: [u, 2 * u],
    expression=lambda y: y[1] - y[0] - y[0],
)

CHANNELS = InputInvariant(
    name="channels apart",
    theorem="One time-invariant system per channel: output channel 2 does not depend on input "
    "channel 1.",
    proof="Every coefficient belongs to one channel and depends on nothing else.",
    scope=Scope.MECHANISM,
    reason="{has} keeps its channels apart, in {violates} with d > 1 one reaches the other",
    fits=_one_channel,
    pair=lambda u, w: [u, np.concatenate([w[:, :1], u[:, 1:]], axis=1)],
    expression=lambda y: y[1][..., 1] - y[0][..., 1],
)

AFFINE_STEP = Invariant(
    name="affine step",
    theorem="The step of a linear time-varying system is affine in its state: the midpoint of "
    "two states goes to the midpoint of their images.",
    proof="S -> A S + B x is affine, and stays so under an affine change of state. This "
    "separates the state maps; for outputs see the order of the response.",
)

INVARIANTS: dict[str, Invariant] = {
    x.name: x
    for x in (
        ORDER_BLIND, FINITE_STATE, SIGN_CHANGES, COMMUTING, ADDITIVE, CONSTANTS, RESPONSE, MEMORY,
        WINDOW, INVERTIBLE, FORGETTING, SETTLING, RESPONSE_ORDER, SUPERPOSITION, CHANNELS,
        AFFINE_STEP,
    )
}  # fmt: skip
