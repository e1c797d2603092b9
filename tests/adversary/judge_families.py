"""Claims about families and instances: random tokens of other sizes, other precision, the lattice.

The checks prove identities on residues; here floats are drawn at random, the violation is evaluated
in balls of 1000 bits, and a chain of nestings that contradicts a separation makes it false.
"""

from __future__ import annotations

from functools import cache
from math import factorial, prod
from typing import Any

import mpmath as mp
import numpy as np

import dsf
from dsf.claims.exact_tokens import outputs, tokens
from dsf.claims.separation_response import hankel_determinant
from dsf.claims.separation_states import gains
from dsf.core.catalogue import family
from dsf.core.certificate import Scope
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.worlds import balls, precision
from dsf.relations.invariants import INVARIANTS
from dsf.verdicts.lattice.equal_when import equal_when
from dsf.verdicts.separations import SEPARATIONS

BITS = 1000
DRAWS = 12  # random words or inputs
SMALL = 1e-7  # relative: a defect below it is rounding, of sizes up to three states
BY_NAME = {s.name: s for s in SEPARATIONS}


# --------------------------------------------------------------------- who has an invariant
@cache
def has(name: str, f: Family) -> bool:
    """Whether no random word shows that a family lacks an invariant."""
    rng = np.random.default_rng(7)
    with np.errstate(all="ignore"):
        return all(BY_NAME[name].defect(f, rng) < SMALL for _ in range(DRAWS))


def contradicted(c: Any, closed: bool) -> bool:
    """Whether the lattice nests the one in the other, or has it in the closure of it."""
    if not isinstance(c.has, Family) or c.scope is not Scope.RECURRENCE:
        return False
    path = dsf.lattice.find_path(c.violates, c.has)
    return path is not None and not path.only and (closed or not path.is_limit)


def _size(ball: Any) -> Any:
    return abs(ball).upper()


def _separated(c: Any, name: str, violation: Any, part: str = "all") -> bool:
    """The violation is at least as large as told, the other side has it, no chain contradicts."""
    import flint

    told = flint.arb(c.lower) if isinstance(c.lower, float) else c.lower
    if not (0 < told <= violation) or contradicted(c, INVARIANTS[name].closed):
        return False
    return isinstance(c.has, AnyRecurrence) or has(name, c.has)


def words(c: Any) -> bool:
    rule = INVARIANTS[c.invariant]
    with precision(BITS):
        F = [outputs(c.violates, c.letters, c.constants, w) for w in c.words]
        size = max((_size(e) for e in np.ravel(rule.expression(F))), key=float)
        return _separated(c, rule.name, size)


def inputs(c: Any) -> bool:
    rule = INVARIANTS[c.invariant]
    if not _an_instance(c.violates, c.parameters):
        return False
    with precision(BITS):
        mech = _instance(c.violates, c.parameters).map(balls)
        y = [mech(balls(u)) for u in c.inputs]
        size = max((_size(e) for e in np.ravel(rule.expression(y))), key=float)
        return rule.fits(list(c.inputs)) and _separated(c, rule.name, size)


def tail(name: str) -> Any:
    def judge(c: Any) -> bool:
        if name in ("settling", "forgetting", "sign changes") and not _one_system(c.violates):
            return False
        lags = 200 if name == "sign changes" else 40
        with precision(BITS):
            if name == "settling":
                y = outputs(c.violates, c.letters, c.constants, "x" * lags)
                s = y[1:] - y[:-1]
            else:
                word = "z" * lags
                a, b = (outputs(c.violates, c.letters, c.constants, x + word) for x in "ab")
                s = (a - b)[1:]
            if name == "sign changes":
                return _changes(s, c.lower) and _separated(c, name, c.lower)
            if name == "invertible transitions":
                w = c.violates.without_parameters().lookback + 1
                gone = all(e.contains(0) for e in s[w - 1 :].flat)
                return gone and _separated(c, name, max(map(_size, s[w - 2]), key=float))
            steady = [x for x in s.T if all((e - x[0]).contains(0) for e in x)]
            size = max((_size(x[0]) for x in steady), key=float, default=0)
            return bool(steady) and _separated(c, name, size)

    return judge


def _one_system(f: Family) -> bool:
    """Whether the step is affine and sees no position: then what repeats obeys one recurrence."""
    return has("affine step", f) and "pos" not in f.spec


def _changes(s: np.ndarray, told: int) -> bool:
    """As many changes of sign as told in the first 39 steps, and more of them later."""
    first, later = [], []
    for column in s.T:
        signs = [1 if e > 0 else -1 for e in column if not e.contains(0)]
        first.append(sum(x != y for x, y in zip(signs[1:39], signs[:38], strict=True)))
        later.append(sum(x != y for x, y in zip(signs[40:], signs[39:-1], strict=True)))
    return max(first) == told and max(later) > 0


def rank(c: Any) -> bool:
    n = c.states[-1]
    if c.violates != dsf.softmax or c.lower != n + 1 or contradicted(c, True):
        return False
    if isinstance(c.has, AnyRecurrence):
        return c.states == (c.has.n,) and int(c.determinants[0]) == prod(
            factorial(m) for m in range(1, n + 1)
        )
    return has("finite state", c.has)


def states(c: Any) -> bool:
    """The block in 1000 bits, by another elimination than that of the check."""
    if not isinstance(c.has, AnyRecurrence) or not c.has.n < c.lower:
        return False
    with precision(BITS):
        M = gains(c.violates, c.letters, c.constants, c.lower)
        rows = [[mp.mpf(e.mid().str(300, radius=False)) for e in row] for row in M]
        wide = max((float(e.rad()) for e in M.flat), default=0.0)
    with mp.workdps(290):
        smallest = min(mp.svd_r(mp.matrix(rows), compute_uv=False))
        return bool(smallest > 1e6 * wide * c.lower)


def few_states(c: Any) -> bool:
    """Draws of other widths have that state, and one step is affine in it, in floats."""
    f, other = c.family, c.recurrence
    if not isinstance(other, AnyRecurrence) or not has("affine step", f):
        return False
    mech, rng = f.without_parameters(), np.random.default_rng(2)
    rows = {
        mech.advance(f.draw_tokens(rng, 3, n=n, p=p, d=p), State())[1].S.shape[-2:]
        for n, p in ((1, 4), (5, 3), (2, 7))
    }
    return rows == {(c.upper, 1)} and c.upper <= other.n


def recall(c: Any) -> bool:
    return 0 < len(c.order) == len(set(c.order)) and max(c.order) == len(c.order) - 1


def one_state(c: Any) -> bool:
    """Keys (-s, s), queries (-1, 1): row i is e^{q_i k_j} over the sum of all four or three."""
    s = mp.mpf(c.s.numerator) / c.s.denominator
    rows = []
    for i, q in enumerate((-1, 1)):
        weights = [mp.exp(-q * s), mp.exp(q * s)]
        rows.append([w / (sum(weights) + 1 + i) for w in weights])
    sigma = min(mp.svd_r(mp.matrix(rows), compute_uv=False))
    return bool(s > 0 and 0 < c.lower <= sigma)


def response(c: Any) -> bool:
    with precision(4 * BITS):
        n = c.states[-1]
        y = outputs(c.violates, c.letters, c.constants, "x" * (2 * n + 3))
        size = _size(hankel_determinant(y[:, 0]))
        if isinstance(c.has, AnyRecurrence):
            return c.has.current_token_only and c.states == (c.has.n,) and 0 < c.lower <= size
        return _one_system(c.has) and _separated(c, "order of the response", size)


def step(c: Any) -> bool:
    with precision(BITS):
        tok = tokens(c.letters, c.constants, "x")
        mech = c.violates.without_parameters()
        f = [mech.advance(tok, State(balls(np.array([[h]]))))[1].S for h in (0.0, 0.5, 1.0)]
        size = max((_size(e) for e in ((f[0] + f[2]) / 2 - f[1]).flat), key=float)
        return _separated(c, "affine step", size)


# --------------------------------------------------------------------- instances
def _instance(f: Family, parameters: Any) -> Any:
    from dataclasses import replace

    return replace(f.without_parameters(), **parameters)


def _an_instance(f: Family, parameters: Any) -> bool:
    """The shapes are those of a drawn instance, its constants lie in their domains."""
    mech = _instance(f, parameters)
    sizes = mech.sizes
    drawn = f.init(d=sizes["d"], n=sizes.get("n", 1), p=sizes.get("p", 1), heads=sizes["H"])
    if drawn.parameters().keys() != parameters.keys():
        return False
    for k, x in drawn.parameters().items():  # the size of a letter of the class is free
        axes = zip(f.cls.draws()[k].axes, x.shape, np.shape(parameters[k]), strict=False)
        fits = all(a in f.cls.letters or m == n for a, m, n in axes)
        if not fits or x.ndim != np.ndim(parameters[k]):
            return False
    tok = mech.tokens(np.zeros((1, sizes["d"])))
    constants = [k for k, x in f.spec.items() if not x.per_token and k in tok.names]
    return all(f.spec[k].domain.inside(getattr(tok, k)) for k in constants)


def _gap(a: Any, b: Any, u: np.ndarray) -> Any:
    with precision(BITS):
        y, z = (m.map(balls)(balls(u)) for m in (a, b))
        return y - z


def same_instance(c: Any) -> bool:
    if not (_an_instance(c.family, c.left) and _an_instance(c.family, c.right)):
        return False
    return c.left.keys() == c.right.keys() and all(
        c.left[k].shape == c.right[k].shape and bool(np.all(c.left[k] == c.right[k]))
        for k in c.left
    )


def coordinates(c: Any) -> bool:
    """At random inputs the outputs agree to 300 digits."""
    if not all(_an_instance(c.family, x) for x in (c.left, c.right)):
        return False
    a, b = (_instance(c.family, x) for x in (c.left, c.right))
    rng = np.random.default_rng(3)
    draws = [rng.choice([-1.0, -0.5, 1.0], (6, a.d)) for _ in range(4)]
    return all(abs(e).lower() <= 1e-200 for u in draws for e in _gap(a, b, u).flat)


def same_family(c: Any) -> bool:
    return c.left.cls is c.right.cls and c.left.defaults() == c.right.defaults()


def instances(c: Any) -> bool:
    import flint

    sides = ((c.first, c.first_parameters), (c.second, c.second_parameters))
    if not all(_an_instance(*s) for s in sides):
        return False
    a, b = (_instance(*s) for s in sides)
    gap = _gap(a, b, c.inputs)
    largest = [max(map(_size, row), key=float) for row in gap]
    at = max(range(len(largest)), key=lambda t: float(largest[t]))
    return bool(0 < flint.arb(c.lower) <= largest[at]) and c.token == at


def image(c: Any) -> bool:
    """At random inputs the outputs agree, exactly or as far as told."""
    sides = ((c.special, c.special_parameters), (c.general, c.general_parameters))
    if not all(_an_instance(*s) for s in sides):
        return False
    a, b = (_instance(*s) for s in sides)
    rng, near = np.random.default_rng(3), c.kind == "instance-image/near"
    radius, length = (c.radius, min(c.length, 16)) if near else (1.0, 6)
    for _ in range(4):
        u = radius * rng.choice([-1.0, -0.5, 1.0], (length, a.d))
        if not all(abs(e).lower() <= (c.upper if near else 1e-200) for e in _gap(a, b, u).flat):
            return False
    return not near or bool(np.isfinite(c.upper))


# --------------------------------------------------------------------- nestings, conditions
def nesting(c: Any) -> bool:
    """Both sides on random tokens, or with random parameters, at sizes that no proof names."""
    e, rng = c.found, np.random.default_rng(5)
    x = ()
    if e.limit is not None:
        x = (np.array(e.limit.value + (1e-7 if e.limit.side == "+" else -1e-7)),)
    close = 1e-8 if e.limit is None else 1e-3
    n, p = (6, 4) if "n" not in e.only and "p" not in e.only else e.sizes[-1]
    for _ in range(3):
        tok = e.special.draw_tokens(rng, 5, n=n, p=p, d=e.only.get("d", p))
        tok = e.special.without_parameters().positioned(tok, 0)
        y = e.special.without_parameters().advance(tok, State())[0]
        z = e.general.without_parameters().advance(e.tau(tok, *x), State())[0]
        y, z = (_flat(o) for o in (y, z))
        if not np.max(np.abs(y - z)) <= close * (1 + np.max(np.abs(y))):
            return False
    wanted = type(c).of(e, c.scope)
    return c.statement == wanted.statement and c.reference == e.reference


def _flat(o: np.ndarray) -> np.ndarray:
    o = o if o.ndim == 3 else np.moveaxis(o, 0, 1)
    return o.reshape(o.shape[0], -1)


def conditions(c: Any) -> bool | None:
    """The table of pairs that meet under a condition: what it says of these two."""
    found = equal_when(family(repr(c.left)), family(repr(c.right)))
    return None if found is None else found.certificate.claim == c.sentence


JUDGES = {
    "separation/words": words,
    "separation/inputs": inputs,
    "separation/instances": instances,
    "separation/sign-changes": tail("sign changes"),
    "separation/window": tail("invertible transitions"),
    "separation/stays": tail("forgetting"),
    "separation/grows": tail("settling"),
    "separation/rank": rank,
    "separation/states": states,
    "few-states": few_states,
    "separation/recall": recall,
    "separation/one-state": one_state,
    "separation/response": response,
    "separation/affine-step": step,
    "same-family": same_family,
    "same-instance": same_instance,
    "instance-image": image,
    "instance-image/near": image,
    "instance-coordinates": coordinates,
    "instance-scores": coordinates,
    "nesting": nesting,
    "equal-when": conditions,
}
