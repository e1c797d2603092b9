"""Strategies for two families: nestings, conditions under which they meet, separations."""

from __future__ import annotations

from dataclasses import dataclass

from dsf.claims.same import SameFamily
from dsf.core.certificate import Certificate
from dsf.core.family import Family
from dsf.verdicts.finding import Finding, Outcome, Verdict
from dsf.verdicts.lattice.equal_when import equal_when
from dsf.verdicts.lattice.paths import Path, find_path
from dsf.verdicts.question import Question
from dsf.verdicts.separations import SEPARATIONS


# --------------------------------------------------------------------- nestings
def nestings(q: Question) -> Outcome:
    """What the lattice of proved nestings says, either way."""
    if q.families is None:
        return Outcome()
    a, b = q.families
    if a == b:
        same = SameFamily(left=a, right=b).certificate()
        return Outcome((Finding.of(Verdict.EQUAL, same),))
    known = _known(a, b)
    found = [_equal([n.path for n in _exact(known, q.d)], a, b)] if _both(known, q.d) else []
    found += [_nested(n, q.separations) for n in _strict(known, q.d)]
    found += [_elsewhere(n, known, a, b) for n in known if not n.holds_at(q.d)]
    looked_for = f"a chain of proved nestings between {a} and {b}: none, either way"
    return Outcome(tuple(found), looked_for)


@dataclass(frozen=True)
class _Nesting:
    """A chain of proved nestings from one side to the other."""

    special: Family
    general: Family
    path: Path

    def holds_at(self, d: int | None) -> bool:
        """Whether it holds at every size, or at this width."""
        return not self.path.only or self.path.only == {"d": d}


def _known(a: Family, b: Family) -> list[_Nesting]:
    pairs = [(x, y, find_path(x, y)) for x, y in ((a, b), (b, a))]
    return [_Nesting(x, y, path) for x, y, path in pairs if path is not None]


def _exact(known: list[_Nesting], d: int | None) -> list[_Nesting]:
    return [n for n in known if n.holds_at(d) and not n.path.is_limit]


def _both(known: list[_Nesting], d: int | None) -> bool:
    return len(_exact(known, d)) == 2


def _strict(known: list[_Nesting], d: int | None) -> list[_Nesting]:
    """The nestings reported as such, exact ones and limits; none where both are equal."""
    return [] if _both(known, d) else [n for n in known if n.holds_at(d)]


def _equal(paths: list[Path], a: Family, b: Family, conditional: bool = False) -> Finding:
    """Both directions are nested; an edge that is an equality proves both at once."""
    both = [p for p in paths if p.kind == "equal"][:1] or paths
    where = [p.where for p in both if p.only]
    at = f"at {where[0]}, " if where else ""
    return Finding(
        Verdict.EQUAL,
        f"{at}{a} and {b} are the same recurrence under a map of their tokens",
        tuple(c for p in both for c in p.certificates()),
        tuple(line for p in both for line in p.describe().splitlines()),
        conditional,
    )


def _nested(n: _Nesting, proofs: tuple[Certificate, ...]) -> Finding:
    """A nesting with the proofs that it is strict."""
    outside = _violating(proofs, n.general)
    notes = n.path.describe().splitlines()
    if not n.path.is_limit:
        notes.append(
            f"strictly: {outside[0].claim}" if outside else "whether strictly is not known here"
        )
        statement = f"every {n.special} is an instance of {n.general}"
        return Finding(Verdict.NESTED, statement, (*n.path.certificates(), *outside), tuple(notes))
    unreached = _violating(proofs, n.special)
    notes += [f"not reached inside the domain: {c.claim}" for c in unreached[:1]]
    notes += [f"and not the reverse: {c.claim}" for c in outside[:1]]
    return Finding(
        Verdict.NESTED_LIMIT,
        f"every {n.special} is a limit of {n.general}, for each length, not uniformly in length",
        (*n.path.certificates(), *unreached, *outside),
        tuple(notes),
    )


def _elsewhere(n: _Nesting, known: list[_Nesting], a: Family, b: Family) -> Finding:
    """A nesting at other sizes than those asked about."""
    back = [o.path for o in known if o is not n and not o.path.is_limit]
    if back:
        return _equal([n.path, *back], a, b, conditional=True)
    text = f"at {n.path.where}, every {n.special} is an instance of {n.general}"
    notes = tuple(n.path.describe().splitlines())
    return Finding(Verdict.NESTED, text, n.path.certificates(), notes, True)


def _violating(proofs: tuple[Certificate, ...], family: Family) -> list[Certificate]:
    """The proofs that `family` is not nested in the other side."""
    return [c for c in proofs if c.witnesses.get("violates") == repr(family)]


# ---------------------------------------------------------- conditions, separations
def conditions(q: Question) -> Outcome:
    """Conditions on the tokens under which the two agree, and only then."""
    if q.families is None:
        return Outcome()
    looked_for = "conditions on the gates under which they meet: none is known for this pair"
    met = equal_when(*q.families)
    if met is None:
        return Outcome((), looked_for)
    found = Finding.of(Verdict.EQUAL_WHEN, met.certificate, conditional=not met.gates_only)
    return Outcome((found,), looked_for)


def separations(q: Question) -> Outcome:
    """Invariants that one side has and the other violates, beyond those of strict nestings."""
    names = ", ".join(s.name for s in SEPARATIONS)
    looked_for = f"an invariant that one has and the other violates: {names}"
    told = _told(q)
    proofs = tuple(c for c in q.separations if c.witnesses.get("violates") not in told)
    if not proofs:
        return Outcome((), looked_for)
    statement = "; ".join(c.claim for c in proofs[:2])
    return Outcome((Finding(Verdict.DIFFERENT, statement, proofs),), looked_for)


def _told(q: Question) -> set[str]:
    """The sides whose violations the nestings report already."""
    if q.families is None or q.left == q.right:
        return set()
    strict = _strict(_known(*q.families), q.d)
    sides = [n.general for n in strict] + [n.special for n in strict if n.path.is_limit]
    return {repr(side) for side in sides}
