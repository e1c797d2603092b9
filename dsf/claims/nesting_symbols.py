"""What a check of a nesting asks of symbolic expressions: domains of tokens, and parameter maps.

Domains are decided by signs of expressions in free symbols; that the parameter map makes the tokens
of the token map, by simplification and once more at random rational numbers in balls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from dsf.claims.exact_tokens import BITS, PARTS, SMALL, ball, drawn, size_of
from dsf.claims.reading import require
from dsf.core.algebra.signs import Domains
from dsf.core.algebra.symbols import Symbols
from dsf.core.algebra.symbols import array as symbolic
from dsf.core.algebra.zero import first_nonzero
from dsf.core.family import Family
from dsf.core.fields import REAL
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.relations import Nesting as Edge
from dsf.relations.edge import no_facts


def domains(edge: Edge) -> None:
    """Obligation 4: the image of every token lies in its domain, by signs of its expressions."""
    for n, p in edge.sizes:
        symbols = Symbols(edge.special, n, p)
        tok = symbols.tokens("t")
        given = () if edge.given is None else edge.given(tok).flat
        _inside(edge.general, symbols, edge.tau(tok, *parameter(edge, symbols)), given)
        if edge.inverse is not None:
            symbols = Symbols(edge.general, n, p)
            _inside(edge.special, symbols, edge.inverse(symbols.tokens("t")))


def _inside(family: Family, symbols: Symbols, tok: Tokens, given: Iterable[Any] = ()) -> None:
    signs = Domains(symbols.bounded, given)
    for name, f in family.spec.items():
        if name != "pos":
            good = name in tok.names and signs.inside(f.domain, getattr(tok, name), symbols.unit)
            require(good, f"the token {name} of {family} is not shown to be {f.domain}")


def stays(edge: Edge) -> None:
    """Obligation 5: what the edge says of the states holds after every token."""
    if edge.stays is None:
        require(edge.positive is no_facts, f"{edge.name}: positive numbers need `stays`")
        return
    for n, p in edge.sizes:
        symbols = Symbols(edge.special, n, p)
        now, x = symbols.tokens("t"), parameter(edge, symbols)
        image = edge.tau(now, *x)
        S, z = states(edge, symbols, image)
        special, general = (f.without_parameters() for f in (edge.special, edge.general))
        later = State(S, None, 1), State(edge.image(S, now, z), None, 1)
        alone = not special.lookback and not general.lookback
        require(alone, f"{edge.name}: `stays` is not shown for families that look back")
        signs = Domains(symbols.bounded)
        for start in ((State(), State()), later):
            s, R = special.advance(now, start[0])[1].S, general.advance(image, start[1])[1].S
            for entries, domain in edge.stays(s, edge.beyond(R)):
                shown = signs.inside(domain, entries)
                require(shown, f"{edge.name}: states are not shown to stay {domain}")
        for number in edge.positive(S, now, z):
            shown = all(signs.sign(sympy.sympify(e)) > 0 for e in np.ravel(number))
            require(shown, f"{edge.name}: a number is not shown to be positive")


def states(edge: Edge, symbols: Symbols, image: Tokens) -> tuple[np.ndarray, Any]:
    """A free state of special, and z; numbers that stay in a domain are symbols of that domain."""
    S = symbols.state()
    z = None
    if edge.rest is not None:
        start = edge.rest(edge.general.without_parameters().advance(image, State())[1].S)
        z = symbolic("z", start.shape, real=True)
    known: dict[Any, Any] = {}
    for entries, domain in () if edge.stays is None else edge.stays(S, z):
        for e in np.ravel(entries):
            require(e.is_Symbol, f"{edge.name}: `stays` takes entries of the states")
            known[e] = sympy.Symbol(f"{e.name}_in", **domain.assumptions)
            if domain.bounded:
                symbols.bounded[known[e]] = int(domain.high or 0)
    put = np.frompyfunc(lambda e: e.xreplace(known), 1, 1)
    return put(S), None if z is None else put(z)


def parameter(edge: Edge, symbols: Symbols) -> tuple[Any, ...]:
    """The symbol that goes to the end of its domain, for a limit edge."""
    limit = edge.limit
    return () if limit is None else (symbols.near(limit.symbol, limit.value, limit.side),)


def parameters(edge: Edge) -> None:
    """tokens'(u; theta') = tau(tokens(u; theta)), symbolically, and at fresh random numbers."""
    assert edge.params is not None  # `check` has seen it
    n, p = edge.sizes[-1]
    mech = edge.special.init(d=edge.only.get("d", 2), n=n, p=p)
    symbols = Symbols(edge.special, n, p)
    limit, x = edge.limit, parameter(edge, symbols)
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
