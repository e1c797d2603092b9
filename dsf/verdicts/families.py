"""Strategies for two families: nestings, conditions under which they meet, separations."""

from __future__ import annotations

from dataclasses import dataclass

from dsf.claims.same import SameFamily
from dsf.core.certificate import Certificate, Scope
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.verdicts.finding import Finding, Outcome
from dsf.verdicts.lattice.equal_when import equal_when
from dsf.verdicts.lattice.paths import Path, find_path
from dsf.verdicts.question import Question
from dsf.verdicts.rules import found, proper
from dsf.verdicts.separations import SEPARATIONS
from dsf.verdicts.separations.many_states import few_states


# --------------------------------------------------------------------- nestings
def nestings(q: Question) -> Outcome:
    """What the lattice of proved nestings says, either way."""
    if q.families is None:
        return Outcome()
    a, b = q.families
    looked_for = f"a chain of proved nestings between {a} and {b}: none, either way"
    if a == b:
        same = SameFamily(left=a, right=b).certificate()
        return Outcome((found("same", q.sides, [same]),), looked_for)
    known = _known(a, b)
    exact = [n for n in known if not n.path.is_limit]
    if len(exact) == 2:
        findings = [_equal(q, exact)]
        findings += [_nested(q, n) for n in exact if findings[0].conditional and n.holds_at(q.d)]
    else:
        findings = [_nested(q, n) for n in known]
    return Outcome(tuple(findings), looked_for)


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


def _equal(q: Question, both: list[_Nesting]) -> Finding:
    """Both directions are nested; a chain of equalities proves both at once."""
    chains = [n.path for n in both if n.path.kind == "equal"][:1] or [n.path for n in both]
    return found("equal", q.sides, [c for p in chains for c in p.certificates(Scope.RECURRENCE)])


def _nested(q: Question, n: _Nesting) -> Finding:
    """A nesting with the proofs that it is strict, where it holds at every size."""
    proofs: list[Certificate] = []
    if not n.path.only:
        sides = (n.special, n.general) if n.path.is_limit else (n.general,)
        proofs = [c for side in sides for c in _violating(q, side) if proper(c)]
    return found("nested", q.sides, [*n.path.certificates(), *proofs])


def _violating(q: Question, family: Family) -> list[Certificate]:
    """The proofs that `family` is not nested in the other side."""
    return [c for c in q.separations if c.witnesses["violates"] == repr(family)]


# ---------------------------------------------------------- conditions, separations
def counts(q: Question) -> Outcome:
    """Whether a family has few enough states for "every recurrence with n states"."""
    sides = (q.left, q.right)
    families = [x for x in sides if isinstance(x, Family)]
    others = [x for x in sides if isinstance(x, AnyRecurrence)]
    if not (families and others):
        return Outcome()
    claim = few_states(families[0], others[0])
    looked_for = f"a fixed number of states of {families[0]}, small enough: none is shown"
    if claim is None:
        return Outcome((), looked_for)
    return Outcome((found("fits", q.sides, [claim.certificate()]),), looked_for)


def conditions(q: Question) -> Outcome:
    """Conditions on the tokens under which the two agree, and only then."""
    if q.families is None:
        return Outcome()
    looked_for = "conditions on the gates under which they meet: none is known for this pair"
    met = equal_when(*q.families)
    if met is None:
        return Outcome((), looked_for)
    return Outcome((found("condition", q.sides, [met.certificate]),), looked_for)


def separations(q: Question) -> Outcome:
    """Invariants that one side has and the other violates, beyond those of strict nestings."""
    names = ", ".join(s.name for s in SEPARATIONS)
    looked_for = f"an invariant that one has and the other violates: {names}"
    told = _told(q)
    proofs = [c for c in q.separations if c.witnesses["violates"] not in told]
    if not proofs:
        return Outcome((), looked_for)
    first = {c.witnesses["violates"]: c for c in reversed(proofs) if proper(c)}
    ordered = [*first.values(), *(c for c in proofs if c not in first.values())]  # one per side
    return Outcome((found("separated", q.sides, ordered),), looked_for)


def _told(q: Question) -> set[str]:
    """The sides whose violations the nestings report already."""
    if q.families is None or q.left == q.right:
        return set()
    known = [n for n in _known(*q.families) if not n.path.only]
    sides = [n.general for n in known] + [n.special for n in known if n.path.is_limit]
    return {repr(side) for side in sides}
