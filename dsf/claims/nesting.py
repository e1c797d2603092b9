"""Nestings: both one-step functions at free tokens, and the image of every token in its domain.

One step of each side is run on residues of a random prime field, at a point drawn anew in every
check: what vanishes there vanishes identically in the tokens and the state, at the sizes named
(`dsf.core.worlds.modular`, with the probability of error).  Domains and parameter maps are proved
on symbolic expressions (`dsf.claims.nesting_symbols`).  The mechanisms' own equations and the maps
of the edge, found by its name, are called, and nothing of the prover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.free_tokens import PROBABILITY, array, flat, sizes_of, state, tokens
from dsf.claims.reading import one_of, require, text, witness
from dsf.core.certificate import Scope, Strength
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.tokens import Tokens
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
        known = edges_named(self.edge, self.module)
        return next((e for e in reversed(known) if not self._other_words(e)), known[-1])

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
            from dsf.claims.nesting_symbols import parameters  # imports sympy

            parameters(e)


def edges_named(name: str, module: str | None) -> list[Edge]:
    """The edges of a name in the table, or of those that a module outside the package has made."""
    if module is not None:
        made = MADE.get((module, name), [])
        require(made, f"the module {module} has made no nesting {name!r}: import it")
        return made
    known = [e for e in NESTINGS if e.name == name]
    require(known, f"no edge {name!r} in the table")
    return known


def agree(edge: Edge) -> None:
    """CertificateError unless the two sides are one map at the sizes of the edge, as it says."""
    from dsf.claims.nesting_symbols import domains, stays  # imports sympy

    stays(edge)  # what the steps are told of the states
    for n, p in edge.proved:
        where = f"at (n, p) = ({n}, {p})"
        _zero(edge, _one_step, n, p, f"one step {where} does not agree identically in the tokens")
        if edge.inverse is not None:
            _zero(edge, _there_and_back, n, p, f"the inverse {where} does not invert the token map")
    domains(edge)


def _zero(edge: Edge, gaps: Callable[..., Iterator[Any]], n: int, p: int, otherwise: str) -> None:
    found = vanishing(lambda F: gaps(edge, F, n, p), limit=edge.limit is not None)
    require(found, f"{edge.name}: {otherwise}")


# ------------------------------------------------------------------- one step, as residues
def _one_step(edge: Edge, F: Field, n: int, p: int) -> Iterator[Any]:
    """What has to vanish after one step, from a free state and from the start."""
    sizes = sizes_of(edge.special, n, p)
    position = F.free("pos")
    before = tokens(F, edge.special.spec, sizes, "s", position - 1)
    now, earlier = tokens(F, edge.special.spec, sizes, "t", position), before
    for ago in range(2, edge.earlier + 1):
        row = tokens(F, edge.special.spec, sizes, f"s{ago}", position - ago)
        earlier = earlier.after(row, edge.special.spec)
    special, general = edge.special.without_parameters(), edge.general.without_parameters()
    image = [_mapped(edge, F, t) for t in (earlier, now)]
    S, z = state(F, edge.special, sizes), _beyond(edge, F, image[1])
    T = edge.image(S, before, z)
    states = (
        State(S, _tail(special, earlier), 1),
        State(T, _tail(general, image[0]), 1),
    )
    for start in (states, (State(), State())):
        one = special.advance(now, start[0])
        # the output may need what is known of the new z, so that is computed first
        new = None if edge.rest is None else edge.rest(general.advance(image[1], start[1])[1].S)
        for x in edge.positive(one[1].S, now, new):
            for entry in np.ravel(x):
                F.tell(entry)
        yield from _apart(edge, now, one, general.advance(image[1], start[1]))


def _tail(mech: Mechanism, earlier: Tokens) -> Tokens | None:
    return earlier.last(mech.lookback, mech.token_fields, mech.substeps)


def _beyond(edge: Edge, F: Field, tok: Tokens) -> Any:
    """A free z, what a state of general holds beyond that of special; None if nothing."""
    if edge.rest is None:
        return None
    start = edge.rest(edge.general.without_parameters().advance(tok, State())[1].S)
    return array(F, "z", start.shape)


def _mapped(edge: Edge, F: Field, tok: Tokens) -> Tokens:
    if edge.limit is None:
        return edge.tau(tok)
    h = F.h if edge.limit.side == "+" else -F.h
    return edge.tau(tok, np.array(edge.limit.value + h, dtype=object))


def _apart(edge: Edge, tok: Tokens, small: Any, large: Any) -> Iterator[Any]:
    """The differences of outputs, and of the states under the state map."""
    y, Y = flat(small[0]), flat(large[0])
    s, R = (np.zeros(0, object) if x[1].S is None else x[1].S for x in (small, large))
    target = np.asarray(edge.image(s, tok, edge.beyond(R)))
    fits = y.shape == Y.shape and R.shape == target.shape
    require(fits, f"{edge.name}: shapes differ")
    yield from (R - target).flat
    yield from (Y - y).flat


def _there_and_back(edge: Edge, F: Field, n: int, p: int) -> Iterator[Any]:
    """tau(inverse(tok)) - tok for a free token of the general family."""
    assert edge.inverse is not None
    tok = tokens(F, edge.general.spec, sizes_of(edge.general, n, p), "t", F.free("pos"))
    image = edge.tau(edge.inverse(tok))
    for name, value in tok.items():
        yield from np.ravel(getattr(image, name) - value)
