"""That every member of a family has an invariant: proved at free tokens, at the sizes named.

Identities are decided on residues (`dsf.core.worlds.modular`), signs by symbolic expressions over
the domains of the tokens (`dsf.core.algebra.signs`).  What is proved are the hypotheses of the
theorems in `dsf.relations.invariants`, on the equations of the family itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from dsf.claims.free_tokens import sizes_of, state, tokens
from dsf.claims.reading import require
from dsf.core import foreign, ops
from dsf.core.family import Family
from dsf.core.fields import GATE, UNIT, Domain
from dsf.core.kinds import Attention, DotProductAttention, Recurrence, Step
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds.modular import Field, number, vanishing
from dsf.mechanisms.rnn.gru import GRU
from dsf.relations.invariants import WordInvariant, double, paired

SIZES = ((1, 1), (2, 2), (3, 2))
KINDS = {x for kind in (Recurrence, Attention, DotProductAttention, Step) for x in kind.__mro__}
OF_THE_KIND = {"advance", "outputs", "system", "positioned", "after_nothing"}
TIME = 5  # of a free state, where a mechanism sees positions
PAST = "cdefghij"  # free tokens before a word, where the package does not define the class
Maker = Callable[[Field, int, int], Iterator[Any]]


def sizes(f: Family) -> tuple[tuple[int, int], ...]:
    """The sizes (n, p) of the proofs; n even where the state is made of pairs.

    Unit vectors of one number are signs, each of which doubles the cases: of several in a token n
    starts at 2.
    """
    if paired(f):
        return ((2, 1), (2, 2), (4, 2))
    units = any(field.domain.unit for field in f.spec.values())
    return ((2, 1), (2, 2), (3, 2)) if units and f.without_parameters().substeps > 1 else SIZES


def where(f: Any) -> str:
    """The same in words, for the sentence of a claim."""
    if not isinstance(f, Family):
        return f"all of {f}"
    return f"{f}: free tokens, (n, p) = {', '.join(f'({n}, {p})' for n, p in sizes(f))}"


def identity(f: Family, make: Maker, otherwise: str) -> None:
    """CertificateError unless what `make` computes vanishes identically, at all sizes."""
    for n, p in sizes(f):
        found = vanishing(lambda F, n=n, p=p: make(F, n, p))  # type: ignore[misc]
        require(found, f"{otherwise} (free tokens, n = {n}, p = {p})")


# --------------------------------------------------------------- what is taken for granted
def outside(f: Family) -> bool:
    """Whether a class that the package does not define makes the steps."""
    return any(map(foreign.outside, f.cls.__mro__))


def of_its_kind(f: Family) -> None:
    """The class makes its steps as its kind does: what holds for a few tokens then holds for all.

    Of a class outside the package it is tried that many free tokens at once give what they give one
    by one.
    """
    changed = OF_THE_KIND & {k for c in f.cls.__mro__ if c not in KINDS for k in vars(c)}
    require(not changed, f"{f} has its own {', '.join(sorted(changed))}, not those of its kind")
    if outside(f):
        identity(f, partial(_at_once, f), f"{f} sees more than its token and its state")


def _at_once(f: Family, F: Field, n: int, p: int) -> Iterator[Any]:
    """Outputs on a word of free letters, less those from one letter after the other."""
    if n > 2:
        return
    mech, now = f.without_parameters(), State()
    tok = letters(F, f, PAST, n, p)
    whole = mech.advance(tok, State())[0]
    for i in range(len(PAST)):
        one, now = mech.advance(tok.part(i, i + 1, mech.token_fields, mech.substeps), now)
        yield from (whole[..., i : i + 1, :, :] - one).flat


# --------------------------------------------------------------- words of free letters
def letters(F: Field, f: Family, word: str, n: int, p: int) -> Tokens:
    """The tokens of a word of free letters; the same letter is the same token."""
    spec = {k: x for k, x in f.spec.items() if k != "pos"}
    rows = [tokens(F, spec, sizes_of(f, n, p), c, None) for c in word]
    joined = {
        k: np.concatenate([getattr(r, k) for r in rows if x.per_token or r is rows[0]], axis=-2)
        for k, x in spec.items()
    }
    return Tokens(**joined)


def outputs(F: Field, f: Family, word: str, n: int, p: int, start: State) -> np.ndarray:
    """The outputs [L coordinates] on a word of free letters."""
    o, _ = f.without_parameters().advance(letters(F, f, word, n, p), start)
    return np.moveaxis(o, -3, 0).reshape(len(word), -1)


def any_state(F: Field, f: Family, n: int, p: int) -> State:
    """A free state; of attention the cache of a free token, for what it keeps is tokens."""
    mech = f.without_parameters()
    before = PAST if outside(f) else "p" * max(1, mech.lookback or 0)
    made = mech.advance(letters(F, f, before, n, p), State(t=TIME))[1]
    return made if made.S is None else State(state(F, f, sizes_of(f, n, p)), made.tail, made.t)


def words(rule: WordInvariant, f: Family, *stated: tuple[str, ...]) -> None:
    """An expression in the outputs on words of free letters vanishes, for every list of words."""
    of_its_kind(f)
    for later in (False, True)[: 1 + rule.from_any_state]:
        for group in dict.fromkeys(stated):
            gaps = partial(_expression, rule, f, group, later)
            identity(f, gaps, f"{f} does not have the invariant {rule.name!r}")


def _expression(
    rule: WordInvariant, f: Family, group: tuple[str, ...], later: bool, F: Field, n: int, p: int
) -> Iterator[Any]:
    start = any_state(F, f, n, p) if later else State()
    yield from np.ravel(rule.expression([outputs(F, f, w, n, p, start) for w in group]))


# --------------------------------------------------------------- a step that is affine
def affine(f: Family, *, readout: bool = True) -> None:
    """State and output after a step are affine in the state before it."""
    mech = f.without_parameters()
    linear_kind(f)

    def gaps(F: Field, n: int, p: int) -> Iterator[Any]:
        start, tok = any_state(F, f, n, p), letters(F, f, "z", n, p)
        other = state(F, f, sizes_of(f, n, p), "other")
        found = [
            mech.advance(tok, State(S, start.tail, start.t))
            for S in (start.S, other, (start.S + other) / 2)
        ]
        for one, two, middle in zip(*[(x[1].S, x[0]) for x in found], strict=True):
            yield from (2 * middle - one - two).flat
            if not readout:
                return

    identity(f, gaps, f"the step of {f} is not affine in its state")


def bounded_state(f: Family) -> None:
    """What is carried does not grow: a kind of mechanism whose steps are those of the kind.

    A recurrence, attention that looks back a fixed number of tokens, or the GRU.
    """
    mech = f.without_parameters()
    of_its_kind(f)
    finite = isinstance(mech, (Recurrence, GRU)) or mech.lookback is not None
    require(finite, f"the state of {f} is not seen to be bounded")
    held = [_kept(f, L) for L in (5, 9)]
    require(held[0] == held[1], f"the state of {f} grows from 5 tokens to 9")


def _kept(f: Family, L: int) -> list[tuple[int, ...]]:
    """The shapes of what is carried on after L tokens."""
    draw = f.draw_tokens(np.random.default_rng(0), L, n=2, p=2, d=2)
    return [np.shape(x) for x in f.without_parameters().advance(draw, State())[1].arrays()]


def linear_kind(f: Family) -> None:
    """A recurrence whose steps are those of the kind."""
    bounded_state(f)
    require(issubclass(f.cls, Recurrence), f"{f} is no recurrence")


def current_token_only(f: Family) -> None:
    """Coefficients depend on the token, not on its position."""
    require("pos" not in f.spec, f"the coefficients of {f} depend on the position")


def response(f: Family) -> None:
    """The response to a constant token obeys a linear recurrence of order (states) + 1."""

    def gaps(F: Field, n: int, p: int) -> Iterator[Any]:
        if n > 2:
            return
        order = double(f) * n + 1
        for column in outputs(F, f, "x" * (2 * order + 1), n, p, State()).T[:1]:
            yield determinant([column[i : i + order + 1] for i in range(order + 1)])

    affine(f)
    current_token_only(f)
    identity(f, gaps, f"the response of {f} obeys no such recurrence")


def determinant(rows: list[Any]) -> Any:
    """By permutations: residues cannot be pivoted safely, and the matrices are small."""
    total: Any = 0
    for order in permutations(range(len(rows))):
        swaps = sum(a > b for i, a in enumerate(order) for b in order[i + 1 :])
        term: Any = (-1) ** swaps
        for row, column in zip(rows, order, strict=True):
            term = row[column] * term
        total = term + total
    return total


# --------------------------------------------------------------- transitions
def diagonal(f: Family) -> bool:
    """Whether the transition at a free token is diagonal (or one number)."""
    mech = f.without_parameters()

    def gaps(F: Field, n: int, p: int) -> Iterator[Any]:
        start, tok = any_state(F, f, n, p), letters(F, f, "z", n, p)
        other = state(F, f, sizes_of(f, n, p), "other")
        for i in range(n):  # row i of the state does not see the others
            mixed = np.array(start.S)
            if i >= mixed.shape[-2]:
                return
            mixed[..., [j for j in range(mixed.shape[-2]) if j != i], :] = other[
                ..., [j for j in range(mixed.shape[-2]) if j != i], :
            ]
            moved, kept = (
                mech.advance(tok, State(S, start.tail, start.t))[1].S for S in (mixed, start.S)
            )
            yield from (moved - kept)[..., i, :].flat

    return all(vanishing(lambda F, n=n, p=p: gaps(F, n, p)) for n, p in sizes(f))  # type: ignore[misc]


def delta(f: Family) -> bool:
    """Whether the step is that of the delta rule: S <- s (S - b k k'S) + b k v', step by step."""
    wanted = {"k", "v", "beta"}
    if not wanted <= set(f.spec):
        return False
    mech = f.without_parameters()

    def gaps(F: Field, n: int, p: int) -> Iterator[Any]:
        start, tok = any_state(F, f, n, p), letters(F, f, "z", n, p)
        S = start.S
        s = ops.exp(tok.log_a) if "log_a" in tok.names else np.array([[number(1, F)]])
        for k, v, b in zip(tok.k, tok.v, tok.beta, strict=True):
            S = s[0, 0] * (S - b[0] * np.outer(k, k @ S)) + b[0] * np.outer(k, v)
        new = mech.advance(tok, start)[1].S
        yield from (new - S).flat

    return all(vanishing(lambda F, n=n, p=p: gaps(F, n, p)) for n, p in sizes(f))  # type: ignore[misc]


def _domain(f: Family, name: str) -> Domain:
    return f.spec[name].domain


def positive(f: Family) -> None:
    """The transition is diagonalisable, and every eigenvalue of it a positive number."""
    affine(f)
    current_token_only(f)
    require(not f.without_parameters().lookback, f"{f} looks back")
    if diagonal(f):
        good = _signs(f, "positive")
        require(good, f"an eigenvalue of {f} is not shown to be positive")
        return
    # eigenvalues s and s (1 - b |k|^2), with |k| = 1 and b below 1
    good = delta(f) and f.without_parameters().substeps == 1
    good = good and _domain(f, "k") == UNIT and _domain(f, "beta") == GATE
    require(good, f"the eigenvalues of {f} are not shown to be positive")


def no_eigenvalue_one(f: Family) -> None:
    """1 is no eigenvalue of the transition: all are below 1, in modulus where they are complex."""
    affine(f)
    current_token_only(f)
    if diagonal(f):
        good = _signs(f, "below_one")
        require(good, f"an eigenvalue of {f} is not shown to stay below 1")
        return
    # s (1 - b |k|^2) and s, with s below 1 and b positive
    good = delta(f) and f.without_parameters().substeps == 1 and "log_a" in f.spec
    require(good, f"the eigenvalues of {f} are not shown to stay below 1")


def _signs(f: Family, question: str) -> bool:
    from dsf.claims import transition_signs  # imports sympy

    return all(getattr(transition_signs, question)(f, n, p) for n, p in sizes(f))


def settles(f: Family) -> None:
    """No eigenvalue 1 on what a repeated token reaches: the span of its keys for a delta rule.

    A product of steps I - b k k' with |k| = 1 and b in (0, 2) keeps the length of x only if k'x = 0
    for all its keys.
    """
    if delta(f) and _domain(f, "k") == UNIT and _domain(f, "beta").bounded:
        affine(f)
        current_token_only(f)
    else:
        no_eigenvalue_one(f)
