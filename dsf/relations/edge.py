"""An edge of the lattice: one mechanism is another under a map of tokens and a map of states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dsf.core import foreign, hooks
from dsf.core.certificate import Certificate, Scope
from dsf.core.errors import DomainError, DTypeError
from dsf.core.family import Family
from dsf.core.fields import Domain
from dsf.core.ops import Array
from dsf.core.tokens import Tokens


def same(S: Array, tok: Tokens) -> Array:
    """The state map of most edges."""
    return S


def no_facts(S: Array, tok: Tokens, z: Any) -> tuple[()]:
    """Nothing is known of the states beyond the equations."""
    return ()


def identity(tok: Tokens) -> Tokens:
    """The token map of families that have the same tokens."""
    return tok


CLOSURE = "; coefficients converge, so outputs do for each length"


def in_words(text: str) -> Callable[[Callable[..., Any]], Any]:
    """Marks a parameter map with the words in which a claim tells it."""

    def mark(f: Callable[..., Any]) -> Any:
        setattr(f, "words", text)  # noqa: B010  # functions have no such attribute for mypy
        return f

    return mark


def where(only: Mapping[str, int]) -> str:
    """A restriction of sizes as text, e.g. "d = 1"."""
    return ", ".join(f"{letter} = {size}" for letter, size in only.items())


@dataclass(frozen=True)
class Limit:
    """A parameter that goes to the open end of its domain: `Limit("gamma", 1, "-")`."""

    symbol: str
    value: int
    side: str  # "-": from below, "+": from above

    def __post_init__(self) -> None:
        if (self.value, self.side) not in ((0, "-"), (0, "+"), (1, "-")):
            raise DomainError(
                f"Limit: domains are open at 0 (either side) and at 1 from below; got {self}"
            )

    def __str__(self) -> str:
        return f"{self.symbol} -> {self.value}{self.side}"


@dataclass(frozen=True, eq=False)
class Nesting:
    """`special` is `general` with tokens tau(tok) and states T(S, tok).

    Write special (f, g), general (F, G), one step each of one head.  The outputs agree at every
    length if

        1  T(0, tok) = 0, or 2-3 hold for the first token             initial states
        2  F(T(s, tok_{i-1}), tau(tok_i)) = T(f(s, tok_i), tok_i)     the step commutes
        3  G(...) = g(...) on the same step                           readouts agree
        4  tau maps the token domain of special into that of general

    for all s, tok_{i-1}, tok_i.  T need be neither invertible nor square nor linear.  A state of
    general may hold more than s: what `rest` reads from it, z, is then an argument of T(s, tok, z),
    and 2 says F(...) = T(f(s, tok_i), tok_i, rest(F(...))) for all z.  `stays` names numbers of s
    and z that lie in a domain after every token, which 5 shows from the first token and from one
    token to the next; 2-3 then need to hold for such s and z alone.  With `limit`
    the token map is tau(tok, x) and 1-3 hold as x goes to the end of its domain: an edge of the
    closure, for each fixed length and compact set of tokens; nothing is said beyond that.

    text      the token map in words, one line
    inverse   a map back with tau(inverse(tok)) = tok: then the families are equal
    params    instance of special [, x] -> instance of general with tokens'(u) = tau(tokens(u)); a
              claim at scope mechanism says what `in_words` says of it
    sizes     the (n, p) of special at which the proof runs; sample: where it is tested on numbers
    given     numbers of a token that are assumed to be positive, as `text` says
    rest      state of general -> z, what of it is no function of the state of special
    stays     (s, z) -> pairs of an array of entries of s or z, and the domain in which it stays
    positive  (s, tok, z) -> numbers that are positive wherever `stays` holds, for the readout
    idle      fields of general that make no difference under this map: on numbers, moving any
              other field changes the outputs
    only      a restriction of sizes, e.g. {"d": 1}; note: what a reader should know

    A nesting made outside the package goes by the module that defines its maps or families:
    `certificate()` proves it, and the check finds it wherever that module has been imported.
    `dsf.lattice.add` enters it in the lattice, so that `compare` sees it.

    >>> import dsf
    >>> edge = dsf.lattice.find_path(dsf.retnet, dsf.gla)[0]
    >>> edge.kind, edge.describe()
    ('nested', 'retnet is gla with log_a <- log gamma')
    """

    special: Family
    general: Family
    tau: Callable[..., Tokens]
    text: str
    T: Callable[..., Array] = same
    limit: Limit | None = None
    inverse: Callable[[Tokens], Tokens] | None = None
    params: Callable[..., Any] | None = None
    sizes: tuple[tuple[int, int], ...] = ((1, 1), (2, 2), (3, 2))
    sample: tuple[int, int] = (5, 3)
    given: Callable[[Tokens], Array] | None = None
    rest: Callable[[Array], Array] | None = None
    stays: Callable[[Array, Any], tuple[tuple[Array, Domain], ...]] | None = None
    positive: Callable[[Array, Tokens, Any], Iterable[Array]] = no_facts
    idle: tuple[str, ...] = ()
    only: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    reference: str = "derived"

    def __post_init__(self) -> None:
        for side in (self.special, self.general):
            if not isinstance(side, Family):
                raise DTypeError(
                    f"Nesting: special and general are families (dsf.gla, or dsf.family('gla')); "
                    f"got {side!r}"
                )
        if self.module:
            MADE.setdefault((self.module, self.name), []).append(self)

    @property
    def kind(self) -> str:
        """ "equal", "nested" or "limit"."""
        if self.limit is not None:
            return "limit"
        return "nested" if self.inverse is None else "equal"

    @property
    def name(self) -> str:
        """The edge in the table, e.g. "retnet -> gla"."""
        return f"{self.special!r} {'=' if self.kind == 'equal' else '->'} {self.general!r}"

    def describe(self) -> str:
        """One line for a printout."""
        verb = {"equal": "equals", "nested": "is", "limit": "is a limit of"}[self.kind]
        end = f" as {self.limit}" if self.limit else ""
        only = f" ({where(self.only)})" if self.only else ""
        text = f" with {self.text}" if self.text else ""
        return f"{self.special!r} {verb} {self.general!r}{only}{text}{end}"

    @property
    def proved(self) -> tuple[tuple[int, int], ...]:
        """The sizes (n, p) at which the check runs one step of both sides on free tokens."""
        return tuple(dict.fromkeys((*self.sizes, self.sample)))

    @property
    def earlier(self) -> int:
        """How many earlier tokens the step of the proof has: all that are looked back on, and two
        more where attention looks back on all of them."""
        back = [f.without_parameters().lookback for f in (self.special, self.general)]
        return max(1, *(b or 0 for b in back)) + (2 if None in back else 0)

    @property
    def grows(self) -> bool:
        """Whether one of the two looks back on all earlier tokens."""
        return any(f.without_parameters().lookback is None for f in (self.special, self.general))

    @property
    def proved_at(self) -> str:
        """The same, printed."""
        cache = f", with 0 and {self.earlier} earlier tokens" if self.grows else ""
        return f"at (n, p) = {', '.join(f'({n}, {p})' for n, p in self.proved)}{cache}"

    @property
    def words(self) -> str:
        """The parameter map as a claim tells it; "" if there is none."""
        if self.params is None:
            return ""
        return str(getattr(self.params, "words", "parameters by " + self.params.__name__))

    def claim(self, scope: Scope = Scope.RECURRENCE) -> str:
        """The statement of the certificate."""
        text = self.describe()
        if scope is Scope.MECHANISM and self.params is not None:
            kind, end = ("a limit of ", f" as {self.limit}") if self.limit else ("", "")
            whose = f"{self.special!r} is {kind}{self.general!r}"
            only = f" ({where(self.only)})" if self.only else ""
            text = f"every instance of {whose}{only} with {self.words}{end}"
            n, p = self.sizes[-1]
            width = where({"d": 2, **self.only})
            at = f"{self.proved_at}, its parameters at (n, p) = ({n}, {p}), {width} and one head"
            return f"{text}, {at}" + (CLOSURE if self.limit else "")
        return f"{text}, {self.proved_at}" + (CLOSURE if self.limit else "")

    def equations(self) -> Iterator[Any]:
        """The classes and functions that define the two families and the maps."""
        yield from self.special.cls.__mro__
        yield from self.general.cls.__mro__
        yield from self._maps()

    @property
    def module(self) -> str:
        """The module outside the package that defines a map or a family; "" if there is none."""
        found = [x for x in (*self._maps(), *self.equations()) if foreign.outside(x)]
        return str(found[0].__module__) if found else ""

    def _maps(self) -> Iterator[Any]:
        yield from filter(None, (self.tau, self.T, self.inverse, self.params))
        yield from filter(None, (self.rest, self.stays, self.positive))

    def image(self, S: Array, tok: Tokens, z: Any) -> Array:
        """T(S, tok), or T(S, tok, z) where states of general hold more."""
        return self.T(S, tok) if self.rest is None else self.T(S, tok, z)

    def beyond(self, R: Array) -> Any:
        """z, what a state of general holds beyond that of special; None if nothing."""
        return None if self.rest is None else self.rest(R)

    @cached_property
    def _proof(self) -> Any:
        return hooks.prove(self)

    def proof(self) -> Any:
        """The proof of this edge (`dsf.verdicts.lattice.prover.Proof`), made once per process."""
        return self._proof

    def certificate(self, scope: Scope = Scope.RECURRENCE) -> Certificate:
        """The certificate of this edge; scope MECHANISM where `params` is given.

        Raises CertificateError if the edge does not prove.
        """
        certificate: Certificate = hooks.certify(self, scope)
        return certificate

    def __repr__(self) -> str:
        return f"<Nesting {self.name}>"


# (module, name) -> the nestings that a module outside the package has made under that name
MADE: dict[tuple[str, str], list[Nesting]] = {}
