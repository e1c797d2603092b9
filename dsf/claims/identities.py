"""Checkers for nestings: both one-step functions, on random rational tokens, in balls of 300 bits.

They call the mechanisms' own equations and the stored token and state maps, found in the table by
the name of the edge, and nothing of the prover.  Random evaluation refutes for certain and confirms
only with overwhelming probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.core.state import State
from dsf.core.tokens import Field, Tokens

BITS = 300
SMALL = 2.0**-200  # what remains of a difference that is exactly zero
DRAWS = 3
STEPS = (10, 20, 40, 80)  # a limit edge is evaluated 2^-10, ..., 2^-80 away from its end


def nesting(c: Certificate) -> None:
    """Recompute the certificate of an edge."""
    import flint

    edge = _same_edge(c)
    precision = flint.ctx.prec
    flint.ctx.prec = BITS
    try:
        rng = np.random.default_rng(20240531)
        for n, p in [*edge.sizes, edge.sample]:
            for _ in range(DRAWS):
                _one_step(edge, rng, n, p)
        if c.scope is Scope.MECHANISM:
            _parameters(edge)
    finally:
        flint.ctx.prec = precision


def _same_edge(c: Certificate) -> Any:
    """The edge that the certificate speaks of; every word of it must be the table's."""
    from dsf.relations import HONESTY, NESTINGS

    w = c.witnesses
    found = [e for e in NESTINGS if e.name == w.get("edge")]
    _require(len(found) == 1, f"no edge {w.get('edge')!r} in the table")
    e = found[0]
    told = {
        "verdict": e.kind,
        "special": repr(e.special),
        "general": repr(e.general),
        "token map": e.tau.__name__,
        "state map": e.T.__name__,
        "limit": "" if e.limit is None else str(e.limit),
        "exact at (n, p)": e.proved_at,
        "sampled at (n, p)": str(e.sample),
        "domain": e.domain,
        "random evaluation": HONESTY,
    }
    for name, value in told.items():
        _require(w.get(name) == value, f"{name} is {value!r} in the table, not {w.get(name)!r}")
    _require(c.claim == e.claim(c.scope), f"the claim of {e.name} is another sentence")
    _require(c.strength is Strength.EXACT, "a proof per step is exact at the sizes it names")
    allowed = [Scope.RECURRENCE] + [Scope.MECHANISM] * (e.params is not None)
    _require(c.scope in allowed, f"{e.name} is not a statement at scope {c.scope.value}")
    return e


def _one_step(edge: Any, rng: np.random.Generator, n: int, p: int) -> None:
    sizes = {"n": n, "p": p, "d": p, "s": edge.special.bare().micro}
    constants: dict[str, Any] = {}
    before = _draw(edge.special.spec, sizes, rng, constants, 3)
    now = _draw(edge.special.spec, sizes, rng, constants, 4)
    S = _state(edge.special, sizes, rng)
    if edge.limit is None:
        bound = _defect(edge, before, now, S, None)
        _require(bound < SMALL, f"{edge.name}: one step differs by up to {bound:.3g}")
        return
    bounds = []
    for j in STEPS:
        h = ball((1, 2**j))
        x = edge.limit.value + h if edge.limit.side == "+" else edge.limit.value - h
        bounds.append(_defect(edge, before, now, S, np.array(x, dtype=object)))
    # a distance that vanishes in proportion to a power of h shrinks at every refinement
    for (j, near), (k, nearer) in zip(
        zip(STEPS, bounds, strict=True), list(zip(STEPS, bounds, strict=True))[1:], strict=False
    ):
        limit = max(near * 2.0 ** ((j - k) / 2), SMALL)
        _require(
            nearer <= limit, f"{edge.name}: {near:.3g} at 2^-{j}, still {nearer:.3g} at 2^-{k}"
        )


def _defect(edge: Any, before: Tokens, now: Tokens, S: np.ndarray, x: Any) -> float:
    """An upper bound on how far one step is from commuting, from this state and from the start."""
    special, general = edge.special.bare(), edge.general.bare()
    image = [edge.tau(t) if x is None else edge.tau(t, x) for t in (before, now)]
    _inside(edge, image[1])
    o, new = special.advance(now, State(S, before if special.lookback else None, 4))
    T = edge.T(S, before)
    O, New = general.advance(image[1], State(T, image[0] if general.lookback else None, 4))
    later = _apart(edge, now, (o, new.S), (O, New.S))
    (o, new), (O, New) = special.advance(now, State()), general.advance(image[1], State())
    return max(later, _apart(edge, now, (o, new.S), (O, New.S)))


def _apart(edge: Any, tok: Tokens, small: tuple[Any, Any], large: tuple[Any, Any]) -> float:
    """An upper bound on the distance of outputs, and of the states under the state map."""
    y, Y = _flat(small[0]), _flat(large[0])
    target = np.asarray(edge.T(small[1], tok))
    _require(y.shape == Y.shape and large[1].shape == target.shape, f"{edge.name}: shapes differ")
    return max(size_of(large[1] - target), size_of(Y - y))


def _inside(edge: Any, tok: Tokens) -> None:
    """Obligation 4 for these tokens: the balls lie in the domains of the general family."""
    for name, field in edge.general.spec.items():
        if name == "pos":
            continue
        rows = np.asarray(getattr(tok, name), dtype=object)
        flat = [_as_ball(e) for e in rows.flat]
        top = int(field.domain[-2]) if field.domain.startswith("in") else None
        if field.domain == "< 0":
            good = all(e < 0 for e in flat)
        elif field.domain == "> 0":
            good = all(e > 0 for e in flat)
        elif top is not None:
            good = all(e > 0 and e < top for e in flat)
        elif field.domain == "unit":
            norms = [sum(e * e for e in r) - 1 for r in rows.reshape(-1, rows.shape[-1])]
            good = all(float(abs(_as_ball(e)).upper()) < SMALL for e in norms)
        else:
            good = all(e.is_finite() for e in flat)
        _require(good, f"{edge.name}: token {name} leaves its domain {field.domain}")


def _parameters(edge: Any) -> None:
    """tokens'(u; theta') = tau(tokens(u; theta)) for an instance with random parameters."""
    rng = np.random.default_rng(7)
    n, p = edge.sizes[-1]
    d = 1 if edge.only == "d = 1" else p
    mech = edge.special.init(d=d, n=n, p=p, seed=3)
    exact = np.frompyfunc(lambda e: ball((round(float(e) * 64) or 1, 64)), 1, 1)
    mech = mech.map(lambda a: np.asarray(exact(a), dtype=object))
    u = np.asarray(exact(rng.uniform(-1, 1, (1, mech.d))), dtype=object)
    tok = mech.tokens(u)
    for j in STEPS if edge.limit else (0,):
        x: tuple[Any, ...] = ()
        if edge.limit:
            h = ball((1, 2**j))
            x = (np.array(edge.limit.value + (h if edge.limit.side == "+" else -h), dtype=object),)
        want, got = edge.tau(tok, *x), edge.params(mech, *x).tokens(u)
        for name, value in got.items():
            size = size_of(value - getattr(want, name))
            _require(size < SMALL, f"{edge.name}: parameter map misses token {name} by {size:.3g}")


# -------------------------------------------------------------------- random rationals
def _draw(
    spec: dict[str, Field],
    sizes: dict[str, int],
    rng: np.random.Generator,
    constants: dict[str, Any],
    position: int,
) -> Tokens:
    out = {}
    for name, field in spec.items():
        if name == "pos":
            out[name] = np.array([[ball((position, 1))]], dtype=object)
        elif field.per_token:
            out[name] = rational(field, field.shape(sizes), rng)
        else:
            if name not in constants:
                constants[name] = rational(field, field.shape(sizes), rng)
            out[name] = constants[name]
    return Tokens(**out)


def rational(field: Field, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random rational numbers in a domain; unit vectors by stereographic projection."""
    a = rng.integers(1, 1000, shape)
    if field.domain == "< 0":
        return _array([(-int(i), 700) for i in a.flat], shape)
    if field.domain == "> 0":
        return _array([(int(i), 700) for i in a.flat], shape)
    if field.domain.startswith("in"):
        return _array([(int(field.domain[-2]) * int(i), 1000) for i in a.flat], shape)
    signed = rng.integers(-999, 1000, shape)
    if field.domain != "unit":
        return _array([(int(i), 601) for i in signed.flat], shape)
    out = np.empty(shape, dtype=object)
    for i in np.ndindex(*shape[:-1]):
        t = [int(e) for e in signed[i][:-1]]
        total = sum(e * e for e in t)
        size = total + 500**2
        out[i] = [*[ball((2 * 500 * e, size)) for e in t], ball((total - 500**2, size))]
    return out


def _state(family: Any, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """A random rational state of the shape and kind that the mechanism has."""
    import flint

    draw = family.draw_tokens(np.random.default_rng(0), **sizes)
    like = family.bare().advance(draw, State())[1].S
    parts = [rational(Field(()), like.shape, rng) for _ in range(2)]
    if like.dtype.kind != "c":
        return parts[0]
    make = np.frompyfunc(flint.acb, 2, 1)
    return np.asarray(make(*parts), dtype=object)


def _array(pairs: list[tuple[int, int]], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(pairs), dtype=object)
    out[:] = [ball(x) for x in pairs]
    return out.reshape(shape)


def ball(x: tuple[int, int]) -> Any:
    import flint

    return flint.arb(flint.fmpq(*x))


def _as_ball(e: Any) -> Any:
    import flint

    return e if isinstance(e, (flint.arb, flint.acb)) else flint.arb(int(e))


def _flat(o: np.ndarray) -> np.ndarray:
    """[L r p] or [H L r p] with the axes after time joined, heads first."""
    o = o if o.ndim == 3 else np.moveaxis(o, 0, 1)
    return o.reshape(o.shape[0], -1)


def size_of(x: Any) -> float:
    """An upper bound on the largest modulus."""
    return max((float(abs(_as_ball(e)).upper()) for e in np.asarray(x).flat), default=0.0)


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise CertificateError(f"nesting: {why}")
