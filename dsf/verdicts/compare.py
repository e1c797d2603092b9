"""`dsf.compare`: which verdict can be proved about two mechanisms, in which scope."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from dsf.claims.same import SameFamily, SameInstance, same_bits
from dsf.core.certificate import Certificate, Scope
from dsf.core.errors import DSFError, ShapeError, UnknownNameError
from dsf.core.family import Family, family, family_of
from dsf.core.mechanism import Mechanism
from dsf.core.opponents import AnyRecurrence
from dsf.core.printing import at_least, at_most, exactly
from dsf.verdicts.comparison import ORDER, Comparison, Finding, Verdict
from dsf.verdicts.differences import table

if TYPE_CHECKING:
    from dsf.verdicts.lattice.paths import Path

Side = Any  # a Family, a Mechanism, or an AnyRecurrence


def compare(
    a: Any,
    b: Any,
    u: Any = None,
    *,
    d: int | None = None,
    n: int = 8,
    p: int | None = None,
    error: float = 0.1,
    relative: bool = True,
    budget: float = 10.0,
    seed: int = 0,
) -> Comparison:
    """What can be proved about two mechanisms, with certificates.

        two families             all token sequences, gates free             scope recurrence
        two instances            these parameters, all inputs                scope instance
        with u [L d]             the first one's kernel on this input        scope operator

    a and b are families, their names, instances, or `dsf.recurrence(n)`, which stands for every
    recurrence with n states.  `d` fixes the model width where an answer depends on it.  With `u`,
    families are drawn by init(d=u.shape[-1], n=n, p=p, seed=seed); the statement is then about the
    first one's kernel against *any* recurrence: how many states an error needs, and how small the
    error with n states (those of `dsf.recurrence`) can be; the second one's own kernel is counted
    beside it.  `error` is in the operator 2-norm, divided by that of the kernel if `relative`.

    Raises UnknownNameError, ShapeError, and the errors of the mechanisms themselves.

    >>> import dsf
    >>> c = dsf.compare("deltanet", "deltaproduct")
    >>> c.verdict.name, c.scope.value, c.check()
    ('NESTED', 'recurrence', True)
    """
    start = time.perf_counter()
    left, right = _side(a), _side(b)
    names = (_name(left), _name(right))
    tried: list[str] = []
    drawn: tuple[Any, Any, Any] = (left, right, u)
    if u is not None:
        left, right = (_draw(x, u, n, p, seed) for x in (left, right))
        scope, drawn = Scope.OPERATOR, (left, right, u)
        findings = _on_input(left, right, names, u, n, error, relative, budget, tried)
    elif isinstance(left, Mechanism) and isinstance(right, Mechanism):
        scope = Scope.INSTANCE
        findings = _instances(left, right, tried)
    elif isinstance(left, Mechanism) or isinstance(right, Mechanism):
        raise ShapeError(
            f"compare: one side is an instance, the other is not ({names[0]}, {names[1]}). Give "
            "two families, two instances, or an input u= to draw the family at."
        )
    else:
        scope = Scope.RECURRENCE
        findings = _families(left, right, d, tried)
    findings.sort(key=lambda f: (f.conditional, ORDER.index(f.verdict)))
    sides = [x for x in (left, right) if not isinstance(x, AnyRecurrence)]
    differences = tuple(table(left, right)) if len(sides) == 2 else ()
    return Comparison(
        *names,
        scope,
        tuple(findings),
        differences,
        () if findings else tuple(tried),
        time.perf_counter() - start,
        drawn,
    )


def _side(x: Any) -> Side:
    if isinstance(x, (Mechanism, AnyRecurrence)):
        return x
    if isinstance(x, (Family, str)):
        return family(x)
    raise UnknownNameError(
        f"compare: expected a family, its name, an instance or dsf.recurrence(n); got {x!r}"
    )


def _name(x: Side) -> str:
    return type(x).__name__ if isinstance(x, Mechanism) else str(x)


def _draw(x: Side, u: Any, n: int, p: int | None, seed: int) -> Side:
    if not isinstance(x, Family):
        return x
    u = np.asarray(u)
    if u.ndim != 2:
        raise ShapeError(f"compare: u must be one sequence [L d]; got {u.shape}")
    return x.init(d=u.shape[-1], n=n, p=p, seed=seed)


# ------------------------------------------------------------------ two families
def _families(a: Side, b: Side, d: int | None, tried: list[str]) -> list[Finding]:
    from dsf.verdicts.separations import SEPARATIONS, separate

    proofs = list(separate(a, b))
    found: list[Finding] = []
    if isinstance(a, Family) and isinstance(b, Family):
        found += _nestings(a, b, d, proofs, tried)
        found += _conditions(a, b, tried)
    if proofs:
        statement = "; ".join(c.claim for c in proofs[:2])
        found.append(Finding(Verdict.DIFFERENT, statement, tuple(proofs)))
    elif not found:
        names = ", ".join(s.name for s in SEPARATIONS)
        tried.append(f"an invariant that one has and the other violates: {names}")
    return found


def _nestings(
    a: Family, b: Family, d: int | None, proofs: list[Certificate], tried: list[str]
) -> list[Finding]:
    """What the lattice says; uses up the `proofs` that make a nesting strict."""
    from dsf.verdicts.lattice.paths import find_path

    if a == b:
        certificate = SameFamily(left=a, right=b).certificate()
        return [Finding(Verdict.EQUAL, certificate.claim, (certificate,))]
    pairs = [(x, y, find_path(x, y)) for x, y in ((a, b), (b, a))]
    known = [(x, y, path) for x, y, path in pairs if path is not None]
    if not known:
        tried.append(f"a chain of proved nestings between {a} and {b}: none, either way")
        return []
    here = [k for k in known if not k[2].only or k[2].only == {"d": d}]
    exact = [k for k in here if not k[2].is_limit]
    found = []
    if len(exact) == 2:
        found.append(_equal([path for _, _, path in exact], a, b))
    else:
        found += [_nested(path, x, y, proofs) for x, y, path in exact or here]
    elsewhere = [k for k in known if k not in here]
    for x, y, path in elsewhere:
        back = [p for s, g, p in known if (s, g) == (y, x) and not p.is_limit]
        if back:
            found.append(_equal([path, *back], a, b, conditional=True))
        else:
            text = f"at {path.where}, every {x} is an instance of {y}"
            notes = tuple(path.describe().splitlines())
            found.append(Finding(Verdict.NESTED, text, path.certificates(), notes, True))
    return found


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


def _nested(path: Path, special: Family, general: Family, proofs: list[Certificate]) -> Finding:
    """A nesting with the proofs that it is strict, which are taken out of `proofs`."""
    outside = _take(proofs, general)
    notes = path.describe().splitlines()
    if not path.is_limit:
        notes.append(
            f"strictly: {outside[0].claim}" if outside else "whether strictly is not known here"
        )
        statement = f"every {special} is an instance of {general}"
        return Finding(Verdict.NESTED, statement, (*path.certificates(), *outside), tuple(notes))
    unreached = _take(proofs, special)
    notes += [f"not reached inside the domain: {c.claim}" for c in unreached[:1]]
    notes += [f"and not the reverse: {c.claim}" for c in outside[:1]]
    return Finding(
        Verdict.NESTED_LIMIT,
        f"every {special} is a limit of {general}, for each length, not uniformly in length",
        (*path.certificates(), *unreached, *outside),
        tuple(notes),
    )


def _take(proofs: list[Certificate], violates: Family) -> list[Certificate]:
    """Remove and return the proofs that `violates` is not nested in the other side."""
    taken = [c for c in proofs if c.witnesses.get("violates") == repr(violates)]
    for c in taken:
        proofs.remove(c)
    return taken


def _conditions(a: Family, b: Family, tried: list[str]) -> list[Finding]:
    from dsf.verdicts.lattice.equal_when import equal_when

    met = equal_when(a, b)
    if met is None:
        tried.append("conditions on the gates under which they meet: none is known for this pair")
        return []
    statement = f"{a} and {b} agree exactly when " + " and ".join(met.conditions)
    return [
        Finding(
            Verdict.EQUAL_WHEN,
            statement,
            (met.certificate,),
            conditional=not met.gates_only,
        )
    ]


# ----------------------------------------------------------------- two instances
def _instances(a: Mechanism, b: Mechanism, tried: list[str]) -> list[Finding]:
    from dsf.verdicts.separations import separate_instances

    equal = _same_instance(a, b)
    if equal is not None:
        return [equal]
    tried.append("equal parameters, directly or through the parameter map of a proved equality")
    certificate = separate_instances(a, b)
    if certificate is not None:
        return [Finding(Verdict.DIFFERENT, certificate.claim, (certificate,))]
    tried.append("an input on which the outputs differ by more than their enclosures: none found")
    return []


def _same_instance(a: Mechanism, b: Mechanism) -> Finding | None:
    """Equality of two instances: the same numbers, or those that a proved edge maps to.

    Two time-invariant instances are not decided by an exact minimal realization: their transitions
    are exponentials of the parameters, not rational numbers, and enclosures can only refute.
    """
    from dsf.verdicts.lattice.paths import edges

    left, right = family_of(a), family_of(b)
    if left == right and _same_arrays(a, b):
        claim = SameInstance(family=left, left=a.parameters(), right=b.parameters())
        certificate = claim.certificate()
        return Finding(Verdict.EQUAL, certificate.claim, (certificate,))
    for e in edges():
        for x, y, special, general in ((a, b, left, right), (b, a, right, left)):
            if e.params is None or e.limit is not None:
                continue
            if (e.special, e.general) == (special, general) and _same_arrays(e.params(x), y):
                text = f"the parameters of {general} are those to which {special} maps"
                return Finding(Verdict.EQUAL, text, (e.certificate(Scope.MECHANISM),))
    return None


def _same_arrays(a: Mechanism, b: Mechanism) -> bool:
    p, q = a.parameters(), b.parameters()
    return p.keys() == q.keys() and all(same_bits(p[k], q[k]) for k in p)


# ------------------------------------------------------------------ on one input
def _on_input(
    a: Side,
    b: Side,
    names: tuple[str, str],
    u: Any,
    n: int,
    error: float,
    relative: bool,
    budget: float,
    tried: list[str],
) -> list[Finding]:
    from dsf.states import realize, states_needed

    if isinstance(a, AnyRecurrence):
        raise ShapeError(
            "compare: with u= the first side must be a mechanism, whose kernel is asked"
        )
    need = states_needed(a, u, error=error, relative=relative, budget=budget / 2)
    unit = "|M|" if relative else ""
    statement = (
        f"on this input, error {exactly(error)}{unit} of {names[0]} needs at least {need.lower} "
        f"and at most {need.upper} states"
    )
    states = b.n if isinstance(b, AnyRecurrence) else n
    best = realize(a.kernel(u), states=states, relative=relative, budget=budget / 2)
    notes = [
        f"with {states} states, the best error is between {at_least(best.lower, 3)}{unit} and "
        f"{at_most(best.upper, 3)}{unit}: no recurrence with {states} states does better"
    ]
    if isinstance(b, Mechanism):
        try:
            own = states_needed(b, u, error=error, relative=relative, budget=budget / 2)
            notes.append(
                f"{names[1]}'s own kernel on this input needs between {own.lower} and {own.upper}"
            )
        except DSFError as problem:
            notes.append(f"{names[1]} has no kernel to count: {problem}")
    tried.append("two-sided bounds of the states needed")
    return [
        Finding(Verdict.APPROXIMABLE, statement, (need.certificate, best.certificate), tuple(notes))
    ]
