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

from dsf.claims.exact_tokens import BITS, PARTS, SMALL, ball, drawn, size_of
from dsf.claims.reading import require
from dsf.core.algebra.signs import Domains
from dsf.core.algebra.symbols import Symbols
from dsf.core.algebra.symbols import array as symbolic
from dsf.core.algebra.zero import first_nonzero
from dsf.core.family import Family
from dsf.core.fields import REAL
from dsf.core.mechanism import Mechanism
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.relations import Nesting as Edge


def domains(edge: Edge) -> None:
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


def parameters(edge: Edge) -> None:
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
