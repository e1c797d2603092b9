"""Nestings: both one-step functions at free tokens, and the image of every token in its domain.

One step of each side is run on residues of a random prime field, at a point drawn anew in every
check: what vanishes there vanishes identically in the tokens and the state, at the sizes named
(`dsf.core.worlds.modular`, with the probability of error).  Domains are proved by signs of symbolic
expressions.  The mechanisms' own equations and the maps of the edge, found by its name, are called,
and nothing of the prover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.exact_tokens import BITS, PARTS, SMALL, ball, drawn, size_of
from dsf.claims.free_tokens import PROBABILITY, flat, sizes_of, state, tokens
from dsf.claims.reading import one_of, require, text, witness
from dsf.core.algebra.signs import Domains
from dsf.core.algebra.symbols import Symbols
from dsf.core.algebra.symbols import array as symbolic
from dsf.core.algebra.zero import first_nonzero
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.fields import REAL
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.core.worlds.modular import Field, vanishing
from dsf.relations import MADE, NESTINGS
from dsf.relations import Nesting as Edge


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
    probability: str = witness(text)

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
            probability=PROBABILITY,
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
        agree(e)
        if self.scope is Scope.MECHANISM:
            _parameters(e)


def agree(edge: Edge) -> None:
    """CertificateError unless the two sides are one map at the sizes of the edge, as it says."""
    for n, p in edge.proved:
        where = f"at (n, p) = ({n}, {p})"
        _zero(edge, _one_step, n, p, f"one step {where} does not agree identically in the tokens")
        if edge.inverse is not None:
            _zero(edge, _there_and_back, n, p, f"the inverse {where} does not invert the token map")
    _domains(edge)


def _zero(edge: Edge, gaps: Callable[..., Iterator[Any]], n: int, p: int, otherwise: str) -> None:
    found = vanishing(lambda F: gaps(edge, F, n, p), limit=edge.limit is not None)
    require(found, f"{edge.name}: {otherwise}")


# ------------------------------------------------------------------- one step, as residues
def _one_step(edge: Edge, F: Field, n: int, p: int) -> Iterator[Any]:
    """What has to vanish after one step, from a free state and from the start."""
    sizes = sizes_of(edge.special, n, p)
    position = F.free("pos")
    before = tokens(F, edge.special.spec, sizes, "s", position - 1)
    now = tokens(F, edge.special.spec, sizes, "t", position)
    special, general = edge.special.without_parameters(), edge.general.without_parameters()
    image = [_mapped(edge, F, t) for t in (before, now)]
    S = state(F, edge.special, sizes)
    one = special.advance(now, State(S, before if special.lookback else None, 1))
    T = edge.T(S, before)
    other = general.advance(image[1], State(T, image[0] if general.lookback else None, 1))
    yield from _apart(edge, now, one, other)
    yield from _apart(edge, now, special.advance(now, State()), general.advance(image[1], State()))


def _mapped(edge: Edge, F: Field, tok: Tokens) -> Tokens:
    if edge.limit is None:
        return edge.tau(tok)
    h = F.h if edge.limit.side == "+" else -F.h
    return edge.tau(tok, np.array(edge.limit.value + h, dtype=object))


def _apart(edge: Edge, tok: Tokens, small: Any, large: Any) -> Iterator[Any]:
    """The differences of outputs, and of the states under the state map."""
    y, Y = flat(small[0]), flat(large[0])
    target = np.asarray(edge.T(small[1].S, tok))
    fits = y.shape == Y.shape and large[1].S.shape == target.shape
    require(fits, f"{edge.name}: shapes differ")
    yield from (large[1].S - target).flat
    yield from (Y - y).flat


def _there_and_back(edge: Edge, F: Field, n: int, p: int) -> Iterator[Any]:
    """tau(inverse(tok)) - tok for a free token of the general family."""
    assert edge.inverse is not None
    tok = tokens(F, edge.general.spec, sizes_of(edge.general, n, p), "t", F.free("pos"))
    image = edge.tau(edge.inverse(tok))
    for name, value in tok.items():
        yield from np.ravel(getattr(image, name) - value)


# ------------------------------------------------------------------- domains, parameters
def _domains(edge: Edge) -> None:
    """Obligation 4: the image of every token lies in its domain, by signs of its expressions."""
    for n, p in edge.sizes:
        symbols = Symbols(edge.special, n, p)
        limit, tok = edge.limit, symbols.tokens("t")
        x = () if limit is None else (symbols.near(limit.symbol, limit.value, limit.side),)
        given = () if edge.given is None else edge.given(tok).flat
        _inside(edge.general, symbols, edge.tau(tok, *x), given)
        if edge.inverse is not None:
            symbols = Symbols(edge.general, n, p)
            _inside(edge.special, symbols, edge.inverse(symbols.tokens("t")))


def _inside(family: Family, symbols: Symbols, tok: Tokens, given: Iterable[Any] = ()) -> None:
    signs = Domains(symbols.bounded, given)
    for name, f in family.spec.items():
        if name != "pos":
            good = name in tok.names and signs.inside(f.domain, getattr(tok, name), symbols.unit)
            require(good, f"the token {name} of {family} is not shown to be {f.domain}")


def _parameters(edge: Edge) -> None:
    """tokens'(u; theta') = tau(tokens(u; theta)), symbolically, and at fresh random numbers."""
    assert edge.params is not None  # `check` has seen it
    n, p = edge.sizes[-1]
    mech = edge.special.init(d=edge.only.get("d", 2), n=n, p=p)
    symbols = Symbols(edge.special, n, p)
    limit = edge.limit
    x = () if limit is None else (symbols.near(limit.symbol, limit.value, limit.side),)
    free = {k: array_of_symbols(edge.special, k, v) for k, v in mech.parameters().items()}
    u = symbolic("u", (1, mech.d), real=True)
    _same_tokens(edge, replace(mech, **free), u, x, _shown)
    rng = np.random.default_rng()
    with precision(BITS):
        h = Fraction(int(rng.integers(1, PARTS)), PARTS)
        end = () if limit is None else (ball(limit.value + (h if limit.side == "+" else -h)),)
        drawn_anew = {k: _random(edge.special, k, v, rng) for k, v in mech.parameters().items()}
        u = drawn(REAL, (1, mech.d), rng)
        _same_tokens(edge, replace(mech, **drawn_anew), u, end, lambda gaps: size_of(gaps) < SMALL)


def _same_tokens(
    edge: Edge, mech: Mechanism, u: Any, x: tuple[Any, ...], zero: Callable[[Any], bool]
) -> None:
    assert edge.params is not None
    want, got = edge.tau(mech.tokens(u), *x), edge.params(mech, *x).tokens(u)
    for name, value in got.items():
        same = zero(np.asarray(value - getattr(want, name)))
        require(same, f"{edge.name}: the parameter map misses the token {name}")


def _shown(gaps: np.ndarray) -> bool:
    return first_nonzero(gaps.flat) is None


def array_of_symbols(family: Family, name: str, x: np.ndarray) -> np.ndarray:
    """Symbols for a parameter; positive ones for those that are tokens with a sign."""
    signed = name in family.spec and family.spec[name].domain != REAL
    return symbolic(name, x.shape, **{"positive" if signed else "real": True})


def _random(family: Family, name: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random rational numbers for a parameter, in its domain where it is a token too."""
    domain = family.spec[name].domain if name in family.spec else REAL
    return drawn(domain, x.shape, rng)
