"""Nestings: both one-step functions, on random rational tokens, in balls of 300 bits.

The check calls the mechanisms' own equations and the token and state maps of the edge, found by its
name, and nothing of the prover.  Random evaluation refutes for certain and confirms only with
overwhelming probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.exact_tokens import BITS, SMALL, as_ball, ball, drawn, number, size_of
from dsf.claims.reading import one_of, require, text, witness
from dsf.core.certificate import Scope, Strength
from dsf.core.fields import REAL, Field
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.relations import HONESTY, MADE, NESTINGS
from dsf.relations import Nesting as Edge

DRAWS = 3
STEPS = (10, 20, 40, 80)  # a limit edge is evaluated 2^-10, ..., 2^-80 away from its end


@dataclass(frozen=True, eq=False, kw_only=True)
class Nesting(Claim, kind="nesting"):
    """An edge of the lattice: every word of the certificate is that of the table, or of its module.

    Edges outside the package go by the module that made them.
    """

    strength = Strength.EXACT
    scope: Scope = witness(one_of(Scope.RECURRENCE, Scope.MECHANISM))
    reference: str = witness(text)
    edge: str = witness(text)
    module: str | None = witness(text, optional=True)
    verdict: str = witness(text)
    special: str = witness(text)
    general: str = witness(text)
    token_map: str = witness(text)
    state_map: str = witness(text)
    limit: str = witness(text)
    exact_at: str = witness(text)
    sampled_at: str = witness(text)
    domain: str = witness(text)
    random_evaluation: str = witness(text)

    @classmethod
    def of(cls, e: Edge, scope: Scope) -> Nesting:
        """The claim of an edge."""
        claim = cls(
            scope=scope,
            reference=e.reference,
            edge=e.name,
            module=e.module or None,
            verdict=e.kind,
            special=repr(e.special),
            general=repr(e.general),
            token_map=e.tau.__name__,
            state_map=e.T.__name__,
            limit="" if e.limit is None else str(e.limit),
            exact_at=e.proved_at,
            sampled_at=str(e.sample),
            domain=e.domain,
            random_evaluation=HONESTY,
        )
        vars(claim)["found"] = e  # a module may have made others under this name
        return claim

    @cached_property
    def found(self) -> Edge:
        """The edge that is claimed; of those of one name the last with the words of the claim."""
        if self.module is not None:
            made = MADE.get((self.module, self.edge), [])
            require(made, f"the module {self.module} has made no nesting {self.edge!r}: import it")
            return next((e for e in reversed(made) if not self._other_words(e)), made[-1])
        known = {e.name: e for e in NESTINGS}
        require(self.edge in known, f"no edge {self.edge!r} in the table")
        return known[self.edge]

    def _other_words(self, e: Edge) -> dict[str, Any]:
        """The fields in which the claim of an edge differs from this one, with its values."""
        other = Nesting.of(e, self.scope)
        wanted = {f.name: getattr(other, f.name) for f in fields(self)}
        return {name: value for name, value in wanted.items() if getattr(self, name) != value}

    @property
    def statement(self) -> str:
        return self.found.claim(self.scope)

    def equations(self) -> Iterator[Any]:
        return self.found.equations()

    def check(self) -> None:
        e = self.found
        other = [
            f"the {k} of {e.name} is {x!r}, not {getattr(self, k)!r}"
            for k, x in self._other_words(e).items()
        ]
        require(not other, "; ".join(other))
        allowed = self.scope is Scope.RECURRENCE or e.params is not None
        require(allowed, f"{e.name} is not a statement at scope {self.scope.value}")
        with precision(BITS):
            rng = np.random.default_rng(20240531)
            for n, p in [*e.sizes, e.sample]:
                for _ in range(DRAWS):
                    one_step(e, rng, n, p)
            if self.scope is Scope.MECHANISM:
                _parameters(e)


def one_step(edge: Edge, rng: np.random.Generator, n: int, p: int) -> None:
    """CertificateError unless one step commutes with the maps, on random tokens."""
    sizes = {"n": n, "p": p, "d": p, "s": edge.special.without_parameters().substeps}
    constants: dict[str, Any] = {}
    before = _draw(edge.special.spec, sizes, rng, constants, 3)
    now = _draw(edge.special.spec, sizes, rng, constants, 4)
    S = _state(edge.special, sizes, rng)
    if edge.limit is None:
        bound = _defect(edge, before, now, S, None)
        require(bound < SMALL, f"{edge.name}: one step differs by up to {bound:.3g}")
        return
    bounds = []
    for j in STEPS:
        h = number(1, 2**j)
        x = edge.limit.value + h if edge.limit.side == "+" else edge.limit.value - h
        bounds.append(_defect(edge, before, now, S, np.array(x, dtype=object)))
    # a distance that vanishes in proportion to a power of h shrinks at every refinement
    for (j, near), (k, nearer) in pairwise(zip(STEPS, bounds, strict=True)):
        allowed = max(near * 2.0 ** ((j - k) / 2), SMALL)
        told = f"off by {near:.3g} at 2^-{j}, still {nearer:.3g} at 2^-{k}"
        require(nearer <= allowed, f"{edge.name}: {told}")


def _defect(edge: Edge, before: Tokens, now: Tokens, S: np.ndarray, x: Any) -> float:
    """An upper bound on how far one step is from commuting, from this state and from the start."""
    special, general = edge.special.without_parameters(), edge.general.without_parameters()
    image = [edge.tau(t) if x is None else edge.tau(t, x) for t in (before, now)]
    _inside(edge, image[1])
    o, new = special.advance(now, State(S, before if special.lookback else None, 4))
    T = edge.T(S, before)
    O, New = general.advance(image[1], State(T, image[0] if general.lookback else None, 4))
    later = _apart(edge, now, (o, new.S), (O, New.S))
    (o, new), (O, New) = special.advance(now, State()), general.advance(image[1], State())
    return max(later, _apart(edge, now, (o, new.S), (O, New.S)))


def _apart(edge: Edge, tok: Tokens, small: tuple[Any, Any], large: tuple[Any, Any]) -> float:
    """An upper bound on the distance of outputs, and of the states under the state map."""
    y, Y = _flat(small[0]), _flat(large[0])
    target = np.asarray(edge.T(small[1], tok))
    require(y.shape == Y.shape and large[1].shape == target.shape, f"{edge.name}: shapes differ")
    return max(size_of(large[1] - target), size_of(Y - y))


def _inside(edge: Edge, tok: Tokens) -> None:
    """Obligation 4 for these tokens: the balls lie in the domains of the general family."""
    for name, field in edge.general.spec.items():
        if name == "pos":
            continue
        rows = np.asarray(getattr(tok, name), dtype=object)
        flat = [as_ball(e) for e in rows.flat]
        if field.domain.unit:
            norms = [sum(e * e for e in r) - 1 for r in rows.reshape(-1, rows.shape[-1])]
            good = all(float(abs(as_ball(e)).upper()) < SMALL for e in norms)
        else:
            good = all(e.is_finite() for e in flat) and field.domain.holds(flat)
        require(good, f"{edge.name}: token {name} leaves its domain {field.domain}")


def _parameters(edge: Edge) -> None:
    """tokens'(u; theta') = tau(tokens(u; theta)) for an instance with random parameters."""
    rng = np.random.default_rng(7)
    n, p = edge.sizes[-1]
    d = edge.only.get("d", p)
    mech = edge.special.init(d=d, n=n, p=p, seed=3)
    exact = np.frompyfunc(lambda e: number(round(float(e) * 64) or 1, 64), 1, 1)
    mech = mech.map(lambda a: np.asarray(exact(a), dtype=object))
    u = np.asarray(exact(rng.uniform(-1, 1, (1, mech.d))), dtype=object)
    tok = mech.tokens(u)
    for j in STEPS if edge.limit else (0,):
        x: tuple[Any, ...] = ()
        if edge.limit:
            h = number(1, 2**j)
            x = (np.array(edge.limit.value + (h if edge.limit.side == "+" else -h), dtype=object),)
        assert edge.params is not None  # `check` has seen it
        want, got = edge.tau(tok, *x), edge.params(mech, *x).tokens(u)
        for name, value in got.items():
            size = size_of(value - getattr(want, name))
            require(size < SMALL, f"{edge.name}: parameter map misses token {name} by {size:.3g}")


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
            out[name] = ball([[position]])
        elif field.per_token:
            out[name] = drawn(field.domain, field.shape(sizes), rng)
        else:
            if name not in constants:
                constants[name] = drawn(field.domain, field.shape(sizes), rng)
            out[name] = constants[name]
    return Tokens(**out)


def _state(family: Any, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """A random rational state of the shape and kind that the mechanism has."""
    import flint

    draw = family.draw_tokens(np.random.default_rng(0), **sizes)
    like = family.without_parameters().advance(draw, State())[1].S
    parts = [drawn(REAL, like.shape, rng) for _ in range(2)]
    if like.dtype.kind != "c":
        return parts[0]
    make = np.frompyfunc(flint.acb, 2, 1)
    return np.asarray(make(*parts), dtype=object)


def _flat(o: np.ndarray) -> np.ndarray:
    """[L r p] or [H L r p] with the axes after time joined, heads first."""
    o = o if o.ndim == 3 else np.moveaxis(o, 0, 1)
    return o.reshape(o.shape[0], -1)
