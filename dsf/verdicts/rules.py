"""What certificates say about two sides: the verdicts, their sentences and notes.

One function per kind of finding.  The strategies of `compare` call it with the certificates that
they found, `Comparison.check` calls it again: a finding says what its certificates prove about its
two sides, and nothing else.  CertificateError where they do not fit together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsf.claims import base
from dsf.claims.reading import require
from dsf.claims.sides import side
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import STUMBLES, CertificateError
from dsf.core.family import Family
from dsf.core.kinds import Step
from dsf.core.opponents import AnyRecurrence
from dsf.core.printing import at_least, at_most, exactly, n_states
from dsf.verdicts.finding import Finding, Verdict
from dsf.verdicts.lattice.paths import Path

Certificates = tuple[Certificate, ...]


def read(c: Certificate) -> Any:
    """The claim of a certificate, of whatever kind."""
    return base.read(c)


@dataclass(frozen=True)
class Sides:
    """The two sides of a comparison by name, in a scope; d: the model width asked about."""

    left: str
    right: str
    scope: Scope
    d: int | None = None

    def both(self) -> tuple[Family | AnyRecurrence, Family | AnyRecurrence]:
        """The families that the names stand for."""
        return side(self.left, "left"), side(self.right, "right")

    def families(self) -> tuple[Family, Family]:
        """Both sides; CertificateError if one is no family."""
        a, b = self.both()
        if not isinstance(a, Family) or not isinstance(b, Family):
            raise CertificateError("both sides must be families")
        return a, b


# --------------------------------------------------------------------- one family
SAME = ("same-family", "same-instance", "instance-coordinates", "instance-scores")


def same(s: Sides, certificates: Certificates) -> Finding:
    """Both sides are one family, or two instances with the same parameters, or the same map in
    other coordinates of its state or of its queries and keys."""
    (c,) = _of_kind(certificates, *SAME)
    claim = read(c)
    a, b = s.families()
    named = (claim.left, claim.right) if c.kind == "same-family" else (claim.family,) * 2
    require(named == (a, b) and c.scope is s.scope, "the certificate is about other sides")
    return Finding.of(Verdict.EQUAL, c)


def fits(s: Sides, certificates: Certificates) -> Finding:
    """One side has few enough states to be one of all recurrences with so many."""
    (c,) = _of_kind(certificates, "few-states")
    claim = read(c)
    sides = (claim.family, claim.recurrence)
    require(s.both() in (sides, sides[::-1]), "the certificate is about other sides")
    return Finding.of(Verdict.NESTED, c)


# --------------------------------------------------------------------- chains of nestings
def equal(s: Sides, certificates: Certificates) -> Finding:
    """Chains of edges in both directions; an edge that is an equality proves both at once."""
    a, b = s.families()
    there, rest = _walk(certificates, a, b)
    paths = [there]
    if there.kind != "equal" or rest:
        back, rest = _walk(rest, b, a)
        paths.append(back)
    require(not rest, "a certificate belongs to neither chain")
    require(not any(p.is_limit for p in paths), "a limit is no equality")
    where = [p for p in paths if p.only]
    at = f"at {where[0].where}, " if where else ""
    return Finding(
        Verdict.EQUAL,
        f"{at}{a} and {b} are the same recurrence under a map of their tokens",
        certificates,
        tuple(line for p in paths for line in p.describe().splitlines()),
        conditional=not all(_holds(p, s.d) for p in paths),
    )


def nested(s: Sides, certificates: Certificates) -> Finding:
    """A chain of edges one way, with the proofs that it is strict."""
    a, b = s.families()
    chain = tuple(c for c in certificates if c.kind == "nesting")
    proofs = tuple(c for c in certificates if c.kind != "nesting")
    require(chain == certificates[: len(chain)], "the chain must come first")
    special, general = (a, b) if _reaches(chain, a, b) else (b, a)
    path, rest = _walk(chain, special, general)
    require(not rest, "a certificate belongs to no chain between the two")
    require(all(_between(c, a, b) and proper(c) for c in proofs), "a proof is of something else")
    outside, unreached = (_violating(proofs, side) for side in (general, special))
    notes = path.describe().splitlines()
    if path.is_limit:
        inside = f"not reached inside the domain: {unreached[0].claim}" if unreached else EXACTLY
        notes.append(inside)
        notes += [f"and not the reverse: {c.claim}" for c in outside[:1]]
        verdict, says = Verdict.NESTED_LIMIT, f"every {special} is a limit of {general}, {LIMIT}"
    else:
        verdict, says = Verdict.NESTED, f"every {special} is an instance of {general}"
        notes += [f"strictly: {outside[0].claim}" if outside else "whether strictly is open here"]
    at = f"at {path.where}, " if path.only else ""
    conditional = not _holds(path, s.d)
    return Finding(verdict, at + says, certificates, tuple(notes), conditional)


LIMIT = "for each length"
EXACTLY = "as a limit; whether exactly, at some point of the domain, is open here"


def _holds(path: Path, d: int | None) -> bool:
    """Whether a chain holds at every size, or at the width that is asked about."""
    return not path.only or path.only == {"d": d}


def _walk(certificates: Certificates, start: Family, end: Family) -> tuple[Path, Certificates]:
    """The chain from one family to another at the front of some certificates, and the rest."""
    here, taken = start, []
    for i, c in enumerate(certificates):
        require(c.kind == "nesting" and c.scope is Scope.RECURRENCE, "a chain is made of nestings")
        edge = read(c).found
        there = _next(edge, here)
        if there is None:
            break
        here = there
        taken.append(edge)
        if here == end:
            return Path(taken), certificates[i + 1 :]
    raise CertificateError(f"no chain of nestings from {start} to {end} is given")


def _next(edge: Any, here: Family) -> Family | None:
    if edge.special == here:
        return edge.general
    return edge.special if edge.kind == "equal" and edge.general == here else None


def _reaches(chain: Certificates, start: Family, end: Family) -> bool:
    here: Family | None = start
    for c in chain:
        here = None if here is None else _next(read(c).found, here)
    return here == end


# --------------------------------------------------------------------- conditions, separations
def condition(s: Sides, certificates: Certificates) -> Finding:
    """Conditions on the tokens under which the two agree, and only then."""
    (c,) = _of_kind(certificates, "equal-when")
    claim = read(c)
    require({claim.left, claim.right} == {*s.families()}, "the certificate is about other sides")
    return Finding.of(Verdict.EQUAL_WHEN, c, conditional=not claim.gates_only)


def separated(s: Sides, certificates: Certificates) -> Finding:
    """One side is not nested in the other, or neither is.

    Neither: proved both ways at scope recurrence.  What is true of maps of inputs, of states or
    sampled only is reported, and makes no verdict.
    """
    a, b = s.both()
    require(certificates, "no certificate is given")
    require(all(_between(c, a, b) for c in certificates), "a certificate is about other sides")
    found = [_violating(filter(proper, certificates), x) for x in (a, b)]
    first = [cs[0] for cs in found if cs]
    if len(first) == 2:
        said = f"neither {a} is nested in {b}, nor {b} in {a}"
        return Finding(Verdict.DIFFERENT, said, certificates)
    if not first:
        return Finding(Verdict.NOT_NESTED, certificates[0].claim, certificates, (), True)
    outer, inner = (a, b) if found[0] else (b, a)
    reverse = f"whether {inner} is nested in {outer} is open here"
    return Finding(Verdict.NOT_NESTED, first[0].claim, certificates, (reverse,))


def proper(c: Certificate) -> bool:
    """Whether a separation is about all token sequences, proved, and about outputs."""
    about_states = c.kind == "separation/affine-step"
    return c.scope is Scope.RECURRENCE and c.strength is not Strength.SAMPLED and not about_states


def _between(c: Certificate, a: Any, b: Any) -> bool:
    claim = read(c)
    sides = getattr(claim, "has", None), getattr(claim, "violates", None)
    return sides in ((a, b), (b, a))


def _violating(certificates: Iterable[Certificate], x: Any) -> list[Certificate]:
    """The proofs that a side is not nested in the other one."""
    return [c for c in certificates if c.witnesses["violates"] == repr(x)]


# --------------------------------------------------------------------- instances, one input
def image(s: Sides, certificates: Certificates) -> Finding:
    """The parameters of one instance are exactly those to which an edge maps the other's."""
    found, edge = certificates
    _image_of(s, found, edge, "instance-image")
    return Finding(Verdict.EQUAL, found.claim, certificates)


def rounded(s: Sides, certificates: Certificates) -> Finding:
    """The same up to rounding, with a bound; and, where it is known, that they are not equal."""
    near, edge, *others = certificates
    _image_of(s, near, edge, "instance-image/near")
    says = f"equal up to a parameter map evaluated in floating point: {near.claim}"
    notes = ["whether they are exactly equal is not known here"]
    if others:
        (c,) = others
        _apart(s, c, near)
        notes = [f"they are not equal: {c.claim}, by at least {at_least(read(c).lower, 3)}"]
    return Finding(Verdict.ROUNDED, says, certificates, tuple(notes))


def apart(s: Sides, certificates: Certificates) -> Finding:
    """Two instances differ on an input; perhaps with a bound on how far."""
    c, *bound = certificates
    notes = []
    if bound:
        near, edge = bound
        _image_of(s, near, edge, "instance-image/near")
        notes = [f"how far apart they can be: {near.claim}"]
    _apart(s, c, *bound[:1])
    notes += _parameters_apart(read(c))
    return Finding(Verdict.DIFFERENT, c.claim, certificates, tuple(notes))


def _parameters_apart(claim: Any) -> list[str]:
    """In which parameters two instances of one family differ, and by how much."""
    if claim.first != claim.second:
        return []
    pairs = {k: (x, claim.second_parameters[k]) for k, x in claim.first_parameters.items()}
    sizes = [f"{k} {list(x.shape)} and {list(y.shape)}" for k, (x, y) in pairs.items()
             if x.shape != y.shape]  # fmt: skip
    if sizes:
        return [f"their parameters have other sizes: {', '.join(sizes)}"]
    gaps = {k: _largest_gap(x, y) for k, (x, y) in pairs.items()}
    moved = [f"{k} by at most {at_most(gap, 3)}" for k, gap in gaps.items() if gap > 0]
    same = [k for k, gap in gaps.items() if gap == 0]
    rest = f"; the same in {', '.join(same)}" if same else ""
    return [f"their parameters differ, entry by entry: {', '.join(moved)}{rest}"]


def _largest_gap(x: np.ndarray, y: np.ndarray) -> float:
    """max |x - y| of stored floats, rounded up."""
    gap = float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max(initial=0.0))
    return math.nextafter(gap, math.inf) if gap else 0.0


def _image_of(s: Sides, found: Certificate, edge: Certificate, kind: str) -> None:
    """A certificate of that kind about both sides, and the one of its edge."""
    _of_kind((found,), kind)
    _of_kind((edge,), "nesting")
    claim, proof = read(found), read(edge)
    require((claim.special, claim.general) in (s.families(), s.families()[::-1]), "other sides")
    same = (claim.edge, claim.module) == (proof.edge, proof.module)
    require(same and edge.scope is Scope.MECHANISM, "the certificate is of another edge")


def _apart(s: Sides, c: Certificate, *near: Certificate) -> None:
    """A separation of both sides, and of the instances of another certificate."""
    _of_kind((c,), "separation/instances")
    claim = read(c)
    require((claim.first, claim.second) == s.families(), "the certificate is about other sides")
    numbers = [(claim.first, claim.first_parameters), (claim.second, claim.second_parameters)]
    for other in map(read, near):
        known = {
            other.special: other.special_parameters,
            other.general: other.general_parameters,
        }
        same = all(np.array_equal(x, known[f][k]) for f, held in numbers for k, x in held.items())
        require(same, "the two certificates are about other instances")


def approximable(s: Sides, certificates: Certificates) -> Finding:
    """How far two kernels are apart; bounds of the states of the first, of its error, and of the
    states of the other."""
    apart = certificates[:1] if certificates and certificates[0].kind == "distance" else ()
    counts = _of_kind(certificates[len(apart) :], "realization")
    first, second, *others = map(read, counts)
    require(len(others) < 2, "two or three counts are expected")
    require((first.question, second.question) == ("states", "error"), "another question is asked")
    operators = [[head.M for head in claim.heads] for claim in (first, second)]
    require(all(map(np.array_equal, *operators)), "the two are about different operators")
    require(len({c.relative for c in (first, second, *others)}) == 1, "the units differ")
    require(not any(c.radius for c in (first, second, *others)), "M is taken as it is stored")
    unit = " |M|" if first.relative else ""
    needs = (
        f"for the kernel M that is given for {s.left}, error {exactly(first.asked)}{unit} needs at "
        f"least {first.lower} and at most {n_states(first.upper)}{first.whose}"
    )
    notes = [
        f"with {n_states(second.asked)}{second.whose} the smallest error of any recurrence lies "
        f"between {at_least(second.lower, 3)}{unit} and {at_most(second.upper, 3)}{unit}",
        "M is in the certificates; that it is this kernel on this input is not checked",
    ]
    for claim in others:
        require((claim.question, claim.asked) == ("states", first.asked), "another question")
        bounds = f"at least {claim.lower} and at most {n_states(claim.upper)}{claim.whose}"
        notes.append(f"the kernel that is given for {s.right} needs {bounds}")
    for claim in (first, *others):
        if claim.upper >= claim.enough_for_all > claim.lower:
            notes.append(
                f"{n_states(claim.upper)} are enough for every kernel of this size: a longer time "
                "limit may find fewer"
            )
    b = s.both()[1]
    if not others and isinstance(b, Family):
        require(issubclass(b.cls, Step), f"the states of {b} are not counted")
        notes.append(f"{s.right} has no kernel to count: its step is not affine in the state")
    says = needs
    if others:
        says, notes = _apart_here(s, apart, (counts[0], counts[2])), [needs, *notes]
    require(bool(apart) <= bool(others), "a distance needs two kernels")
    return Finding(Verdict.APPROXIMABLE, says, certificates, tuple(notes))


def heads(first: Certificate, second: Certificate) -> tuple[np.ndarray, np.ndarray]:
    """The operators of two counts [H rows columns]; one head stands beside each of several."""
    M, N = (
        np.stack([h.M.reshape(h.M.shape[0] * h.M.shape[1], -1) for h in read(c).heads])
        for c in (first, second)
    )
    H = max(len(M), len(N))
    return tuple(np.repeat(x, H, axis=0) if len(x) == 1 else x for x in (M, N))  # type: ignore[return-value]


def _apart_here(s: Sides, apart: Certificates, counts: Certificates) -> str:
    """The sentence about two kernels on one input: how far apart they are, or why that is open."""
    M, N = heads(*counts)
    if not apart:
        require(M.shape != N.shape, "the distance of the two kernels is missing")
        return (
            f"the kernels given for {s.left} {_shape(M)} and {s.right} {_shape(N)} have different "
            "sizes, so there is no distance between them"
        )
    claim = read(apart[0])
    same = np.array_equal(claim.M, M) and np.array_equal(claim.N, N)
    require(same, "the distance is that of other operators")
    near, far = at_least(claim.lower, 4), at_most(claim.upper, 4)
    each = [len(read(c).heads) for c in counts]
    how = f", in the head that differs most of {max(each)}" if max(each) > 1 else ""
    if len(set(each)) > 1:
        how += f" (the one head of {(s.left, s.right)[each.index(1)]} beside each)"
    of = [(h.norm_low, h.norm_high) for h in read(counts[0]).heads]
    low, high = (max(x or 0.0 for x in side) for side in zip(*of, strict=True))
    if low > 0:  # bounds of the first |M|
        low, high = (
            math.nextafter(claim.lower / high, 0),
            math.nextafter(claim.upper / low, math.inf),
        )
        how += f"; {at_least(max(low, 0.0), 3)} to {at_most(high, 3)} in units of the first |M|"
    return (
        f"in the operator 2-norm the kernels given for {s.left} and {s.right} are {near} to {far} "
        f"apart{how}"
    )


def _shape(M: np.ndarray) -> str:
    return f"[{' '.join(map(str, M.shape))}]"


def _of_kind(certificates: Certificates, *kinds: str) -> Certificates:
    fits = certificates and all(c.kind in kinds for c in certificates)
    require(fits, f"certificates of the kind {' or '.join(kinds)} are needed")
    return certificates


ALL_TOKENS = (equal, nested, fits, condition, separated)
RULES: dict[Scope, dict[str, Callable[[Sides, Certificates], Finding]]] = {
    Scope.RECURRENCE: {f.__name__: f for f in (same, *ALL_TOKENS)},
    Scope.INSTANCE: {f.__name__: f for f in (same, image, rounded, apart)},
    Scope.OPERATOR: {f.__name__: f for f in (approximable,)},
}


def found(rule: str, s: Sides, certificates: Iterable[Certificate]) -> Finding:
    """The finding that certificates make of two sides by one of the rules."""
    known = RULES.get(s.scope, {})
    require(
        type(rule) is str and rule in known,
        f"no finding {rule!r} of scope {s.scope.value}: {', '.join(known)}",
    )
    certificates = tuple(certificates)
    texts = [c.to_json() for c in certificates]
    once = s.scope is Scope.OPERATOR or len(set(texts)) == len(texts)  # two kernels may be the same
    require(once, "a certificate is given twice")
    try:
        return replace(known[rule](s, certificates), rule=rule)
    except STUMBLES as e:
        raise CertificateError(f"these certificates make no finding {rule!r} ({e!r})") from e
