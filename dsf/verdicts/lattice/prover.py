"""Proofs of the edges: four obligations per step, symbolically, and their tests on numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy

from dsf.claims.nesting import Nesting as Claim
from dsf.claims.nesting_symbols import states, stays
from dsf.core.algebra.signs import Domains
from dsf.core.algebra.symbols import Symbols, array
from dsf.core.algebra.zero import affine_parts, first_nonzero, is_zero, unfold
from dsf.core.certificate import Certificate, Scope
from dsf.core.errors import CertificateError
from dsf.core.fields import REAL
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting

LENGTH = 7  # of the sequences on which edges are tested
SAME = 1e-9  # relative difference of outputs, below which an exact edge passes the test on numbers
NEAR = 1e-2  # the same for a limit edge, 2^-FINEST away from its limit
COARSE, FINEST = 8, 14  # powers of 1/2 between which the order of a limit is measured
OFF = 2.0**-4  # from the limit, where fields are disturbed
MOVED = 1e-4  # relative difference of outputs that every disturbed field has to make
ROUNDING = 1e-12  # differences below it have no order
_SINGULAR = sympy.nan, sympy.zoo, sympy.oo, -sympy.oo


@dataclass(frozen=True, eq=False)
class Proof:
    """What was proved of an edge, and what was only tested.

    failures  empty if the edge is proved; otherwise what is not shown
    error     largest relative difference of outputs on random sequences (2^-14 off a limit)
    order     observed order of convergence of a limit edge
    gap       smallest relative difference of outputs when one mapped field is disturbed
    open_end  for a limit edge: the fields that leave their domain at the limit, and only there
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    failures: tuple[str, ...]
    error: float
    gap: float
    order: float | None
    open_end: str
    mechanism: bool
    seconds: float

    @property
    def holds(self) -> bool:
        return not self.failures

    def __repr__(self) -> str:
        state = "proved" if self.holds else "NOT proved: " + "; ".join(self.failures)
        at = ", ".join(f"({n}, {p})" for n, p in self.sizes)
        lines = [
            f"{self.name}: {state}, exact at (n, p) = {at}, {1e3 * self.seconds:.0f} ms",
            f"  numbers     error {self.error:.1e}, disturbed {self.gap:.1e}",
        ]
        if self.order is not None:
            lines.append(f"  limit       order {self.order:.2f}; open end: {self.open_end}")
        return "\n".join(lines)


def prove(edge: Nesting) -> Proof:
    """Run the four obligations at `edge.sizes`, then the tests on numbers at `edge.sample`."""
    start = time.process_time()
    failures: list[str] = []
    for n, p in edge.sizes:
        failures += [f"{b} at (n, p) = ({n}, {p})" for b in _obligations(edge, n, p)]
    if edge.params is not None and not failures:
        failures += _parameters(edge)
    error, gap, order, open_end = np.nan, np.nan, None, ""
    if not failures:
        error, order = _test_numbers(edge)
        gap = _disturb(edge)
        if not error < (SAME if edge.limit is None else NEAR):
            failures.append(f"outputs differ by {error:.1e} on numbers")
        if not gap > MOVED:
            failures.append(f"disturbing a token changes the output by {gap:.1e} only: vacuous")
    if not failures and edge.limit is not None:
        open_end = _open_end(edge)
        if not open_end:
            failures.append("the limit lies inside the domain: the edge should be exact")
    seconds = time.process_time() - start
    return Proof(
        edge.name, edge.sizes, tuple(failures), error, gap, order, open_end,
        edge.params is not None, seconds,
    )  # fmt: skip


# ------------------------------------------------------------- symbolic obligations
def _obligations(edge: Nesting, n: int, p: int) -> list[str]:
    """Which obligations are not shown at one size."""
    symbols = Symbols(edge.special, n, p)
    now, earlier = symbols.tokens("t"), symbols.earlier(edge.earlier)
    before = symbols.tokens("s", 1)
    x = _parameter(symbols, edge)
    tau = (lambda tok: edge.tau(tok)) if x is None else (lambda tok: edge.tau(tok, x))
    special, general = edge.special.without_parameters(), edge.general.without_parameters()
    missing = set(edge.general.spec) - set(tau(now).names) - {"pos"}
    if missing:
        return [f"4: no token {name}" for name in sorted(missing)]

    failures = []
    S, z = states(edge, symbols, tau(now))
    y, s = step(special, now, State(S, _tail(special, earlier), 1))
    T = edge.image(S, before, z)
    Y, R = step(general, tau(now), State(T, _tail(general, tau(earlier)), 1))
    runs = [("", y, s, Y, R)]
    if not _starts(edge, symbols, now) or special.lookback != 0 or general.lookback != 0:
        # the first token, from the true initial states, is a case of its own
        runs.append(
            (" (first token)", *step(special, now, State()), *step(general, tau(now), State()))
        )
    for which, *steps in runs:
        failures += [what + which for what in _unequal(edge, symbols, S, now, x, *steps)]
    try:
        stays(edge)
    except CertificateError as e:
        failures.append(f"5: {e}")
    given = () if edge.given is None else edge.given(now).flat
    failures += _domains(edge, Domains(symbols.bounded, given), symbols, tau(now))
    if any(e.has(sympy.Float) for e in _entries(tau(now))):
        failures.append("the token map holds a floating-point number")
    if edge.inverse is not None:
        failures += _inverse(edge, n, p)
    return failures


def _starts(edge: Nesting, symbols: Symbols, now: Tokens) -> bool:
    """Whether the state before the first token is the image of that of special."""
    if edge.rest is not None or edge.stays is not None:
        return False  # what is known of the states holds after the first token
    start = edge.T(symbols.state(zero=True), now)
    return first_nonzero(np.asarray(start).flat, symbols.unit) is None


def _unequal(
    edge: Nesting, symbols: Symbols, S: Array, now: Tokens, x: Any,
    y: Array, s: Array, Y: Array, R: Array,
) -> list[str]:  # fmt: skip
    """Which of the obligations 2 and 3 are not shown: (y, s) special, (Y, R) general."""
    target = edge.image(s, now, edge.beyond(R))
    if R.shape != target.shape or Y.shape != y.shape:
        return [f"shapes: states {R.shape}, {target.shape}, outputs {Y.shape}, {y.shape}"]
    groups = [_symbols_of(S), *[_symbols_of(v) for _, v in now.items()]]
    failures = []
    for what, defect in (
        ("2: the step does not commute", R - target),
        ("3: the readouts differ", Y - y),
    ):
        pieces = [_told(sympy.sympify(d), symbols, x) for d in defect.flat]
        entries = [e for d in pieces for e in affine_parts(unfold(d), groups)]
        if edge.limit is not None:
            linear = [*_symbols_of(S), *_symbols_of(now.v if "v" in now.names else now.u)]
            entries = [c for e in entries for c in limits(e, x, edge.limit, linear)]
        if first_nonzero(entries, symbols.unit) is not None:
            failures.append(what)
    return failures


def _told(e: Any, symbols: Symbols, x: Any) -> Any:
    """The expression with |a| and max(a, b) told, where signs tell them (for small x)."""
    signs = Domains(symbols.bounded)

    def largest(*args: Any) -> Any:
        a, b = args
        sign = signs.sign(a - b)
        if not sign and x is not None:  # of the pole at x = 0
            sign = signs.sign(sympy.expand((a - b) * x).subs(x, 0))
        return sympy.Max(a, b) if not sign else a if sign > 0 else b

    def size(a: Any) -> Any:
        return signs.sign(a) * a or sympy.Abs(a)

    if not e.has(sympy.Max):
        return e
    return e.replace(sympy.Abs, size).replace(sympy.Max, largest)


def _parameter(symbols: Symbols, edge: Nesting) -> Any:
    """The symbol that goes to the end of its domain, for a limit edge."""
    limit = edge.limit
    return None if limit is None else symbols.near(limit.symbol, limit.value, limit.side)


def _inverse(edge: Nesting, n: int, p: int) -> list[str]:
    """What is not shown of tau(inverse(tok)) = tok, for inverse(tok) in the domain of special."""
    assert edge.inverse is not None
    symbols = Symbols(edge.general, n, p)
    tok = symbols.tokens("t")
    back = edge.inverse(tok)
    image = edge.tau(back)
    off = [e for name, value in tok.items() for e in (getattr(image, name) - value).flat]
    found = (
        []
        if first_nonzero(off, symbols.unit) is None
        else ["the inverse does not invert the token map"]
    )
    domains = Domains(symbols.bounded)
    for name, field in edge.special.spec.items():
        value = getattr(back, name, None)
        known = name == "pos" or value is not None
        if not known or (
            value is not None and not domains.inside(field.domain, value, symbols.unit)
        ):
            found.append(f"the inverse leaves the domain of {name}")
    return found


def _parameters(edge: Nesting) -> list[str]:
    """The tokens that the parameter map misses: tokens'(u; theta') = tau(tokens(u; theta))."""
    assert edge.params is not None
    n, p = edge.sizes[-1]
    d = edge.only.get("d", 2)
    spec = edge.special.spec

    def symbols(x: np.ndarray, name: str) -> np.ndarray:
        positive = name in spec and spec[name].domain != REAL
        return array(name, x.shape, **{"positive" if positive else "real": True})

    drawn = edge.special.init(d=d, n=n, p=p)
    mech = replace(drawn, **{k: symbols(v, k) for k, v in drawn.parameters().items()})
    tok = mech.tokens(symbols(np.zeros((1, mech.d)), "u"))
    x = () if edge.limit is None else (_parameter(Symbols(edge.special, n, p), edge),)
    want, got = edge.tau(tok, *x), edge.params(mech, *x).tokens(symbols(np.zeros((1, mech.d)), "u"))
    missed = [
        name
        for name, value in got.items()
        if first_nonzero((value - getattr(want, name)).flat) is not None
    ]
    return [f"the parameter map misses the token {name}" for name in missed]


def step(mech: Mechanism, tok: Tokens, state: State) -> tuple[Array, Array]:
    """(y [L r p], S): one call of `advance`, heads side by side; S is [0] if there is none."""
    o, new = mech.advance(tok, state)
    if o.ndim == 4:
        o = np.moveaxis(o, 0, 1)
    return o.reshape(o.shape[0], -1), np.zeros(0, object) if new.S is None else new.S


def _tail(mech: Mechanism, tok: Tokens) -> Tokens | None:
    return tok.last(mech.lookback, mech.token_fields, mech.substeps)


def _entries(tok: Tokens) -> list[Any]:
    return [sympy.sympify(e) for _, v in tok.items() for e in np.asarray(v).flat]


def _symbols_of(x: np.ndarray) -> list[Any]:
    return sorted(set().union(*[e.free_symbols for e in x.flat]), key=str)


def limits(e: Any, x: Any, limit: Limit, linear: list[Any]) -> list[Any]:
    """The limits of the coefficients of an expression that is affine in the symbols `linear`.

    Where the expression is continuous at the end point, substitution gives all of them at once.
    """
    value = e.subs(x, limit.value)
    if not value.has(*_SINGULAR):
        return [value]
    used = [s for s in linear if e.has(s)]
    rest = e.subs({s: 0 for s in used})
    parts = [rest, *[sympy.diff(e, s).subs({r: 0 for r in used}) for s in used]]
    return [_limit(c, x, limit) for c in parts]


def _limit(c: Any, x: Any, limit: Limit) -> Any:
    """The limit of one coefficient: by substitution, or by l'Hopital's rule for 0/0."""
    try:
        value = c.subs(x, limit.value)
    except ValueError:  # max with a pole whose sign is not known
        return sympy.nan
    if not value.has(*_SINGULAR):
        return value
    num, den = sympy.fraction(sympy.together(c))
    if not c.has(sympy.Abs, sympy.Max, sympy.log, sympy.sqrt):
        for _ in range(3):
            top, below = num.subs(x, limit.value), den.subs(x, limit.value)
            if not is_zero(below):
                return top / below
            if not is_zero(top):
                break
            num, den = sympy.diff(num, x), sympy.diff(den, x)
    return sympy.limit(c, x, limit.value, limit.side)


def _domains(edge: Nesting, signs: Domains, symbols: Symbols, mapped: Tokens) -> list[str]:
    """Obligation 4: the fields that are not shown to lie in their domains."""
    wanted = edge.general.spec
    return [
        f"4: {name} is not shown to stay in its domain {wanted[name].domain}"
        for name, value in mapped.items()
        if name in wanted and not signs.inside(wanted[name].domain, value, symbols.unit)
    ]


# ------------------------------------------------------------------ tests on numbers
def mapped_draw(
    edge: Nesting, rng: np.random.Generator, L: int, h: float = 0.0
) -> tuple[Tokens, Tokens]:
    """Random tokens of the special family and their image, h away from the limit."""
    n, p = edge.sample
    tok = edge.special.draw_tokens(rng, L, n=n, p=p, d=p)
    if "pos" in edge.special.spec:
        tok = tok.replace(pos=np.arange(L, dtype=float)[:, None])
    return tok, mapped(edge, tok, h)


def mapped(edge: Nesting, tok: Tokens, h: float = 0.0) -> Tokens:
    """tau(tok), h away from the limit of a limit edge."""
    if edge.limit is None:
        return edge.tau(tok)
    return edge.tau(tok, np.array(edge.limit.value + (h if edge.limit.side == "+" else -h)))


def _difference(edge: Nesting, tok: Tokens, image: Tokens) -> float:
    y = step(edge.special.without_parameters(), tok, State())[0]
    return _apart(y, step(edge.general.without_parameters(), image, State())[0])


def _apart(y: Array, Y: Array) -> float:
    return float(np.abs(Y - y).max() / max(np.abs(y).max(), 1.0))


def _test_numbers(edge: Nesting) -> tuple[float, float | None]:
    """Largest difference of outputs over whole sequences, and the order of a limit."""
    rng = np.random.default_rng(2)
    draws = [mapped_draw(edge, rng, LENGTH, 0.5)[0] for _ in range(3)]
    if edge.limit is None:
        return max(_difference(edge, tok, mapped(edge, tok)) for tok in draws), None
    coarse, fine = (
        max(_difference(edge, t, mapped(edge, t, 2.0**-j)) for t in draws) for j in (COARSE, FINEST)
    )
    order = np.log2(coarse / fine) / (FINEST - COARSE) if fine > ROUNDING else np.inf
    return fine, float(order)


def _disturb(edge: Nesting) -> float:
    """The smallest effect of moving one field of the image inside its domain; 0 if one is said to
    be idle and is not.  Of a limit some way off it, where a field that it sends away still acts."""
    rng = np.random.default_rng(3)
    image = mapped_draw(edge, rng, LENGTH, OFF)[1]
    general = edge.general.without_parameters()
    still = step(general, image, State())[0]
    effects = []
    for name, field in edge.general.spec.items():
        if name != "pos":
            moved = image.replace(**{name: field.domain.moved(rng, getattr(image, name))})
            effect = _apart(still, step(general, moved, State())[0])
            effects.append(effect if name not in edge.idle else np.inf if effect < SAME else 0.0)
    return min(effects)


def _open_end(edge: Nesting) -> str:
    """The fields that are outside their domain (or infinite) at the limit itself."""
    with np.errstate(all="ignore"):
        _, image = mapped_draw(edge, np.random.default_rng(4), LENGTH, 0.0)
    spec = edge.general.spec
    out = [k for k, v in image.items() if not (np.isfinite(v).all() and spec[k].domain.inside(v))]
    return ", ".join(f"{k} ({spec[k].domain})" for k in out)


# -------------------------------------------------------------------- certificates
def certificate(edge: Nesting, scope: Scope = Scope.RECURRENCE) -> Certificate:
    """A certificate whose check evaluates both one-step functions on random tokens in balls."""
    proof = edge.proof()
    if not proof.holds:
        raise CertificateError(f"{edge.name} is not proved: {'; '.join(proof.failures)}")
    if scope not in (Scope.RECURRENCE, Scope.MECHANISM) or (
        scope is Scope.MECHANISM and edge.params is None
    ):
        raise CertificateError(f"{edge.name} is not a statement at scope {scope.value}")
    return Claim.of(edge, scope).certificate()
