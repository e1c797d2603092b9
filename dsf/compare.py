"""`dsf.compare`: which verdict can be proved about two mechanisms, in which scope."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from dsf.certificate import Scope
from dsf.comparison import ORDER, Comparison, Finding, Verdict
from dsf.differences import table
from dsf.errors import DSFError, ShapeError, UnknownNameError
from dsf.family import Family, family
from dsf.mechanism import Mechanism
from dsf.opponents import AnyRecurrence

Side = Any  # a Family, a Mechanism, or an AnyRecurrence


def compare(
    a: Any,
    b: Any,
    u: Any = None,
    *,
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
    recurrence with n states.  With `u`, families are drawn by init(d=u.shape[-1], n=n, p=p,
    seed=seed); the statement is then about the first one's kernel against *any* recurrence: how
    many states an error needs, and how small the error with the second one's states can be; the
    second one's own kernel is counted beside it.  `error` is in the operator 2-norm (divided by
    that of the kernel if `relative`).

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
        findings = _families(left, right, tried)
    findings.sort(key=lambda f: ORDER.index(f.verdict))
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
def _families(a: Side, b: Side, tried: list[str]) -> list[Finding]:
    found: list[Finding] = []
    if isinstance(a, Family) and isinstance(b, Family):
        found += _nestings(a, b, tried)
        found += _conditions(a, b, tried)
    found += _separations(a, b, tried, already=bool(found))
    return found


def _nestings(a: Family, b: Family, tried: list[str]) -> list[Finding]:
    from dsf.nesting import find_path

    forward, backward = find_path(a, b), find_path(b, a)
    if forward is None and backward is None:
        tried.append(f"a path of proved nestings between {a} and {b}, either way: there is none")
        return []
    exact = [x for x in (forward, backward) if x is not None and not x.is_limit]
    if len(exact) == 2:
        path = min(exact, key=len)
        return [
            Finding(
                Verdict.EQUAL,
                f"{a} and {b} are the same recurrence: {path.describe()}",
                path.certificates(),
                path.notes(),
            )
        ]
    found = []
    for path in exact or [x for x in (forward, backward) if x is not None]:
        verdict = Verdict.NESTED_LIMIT if path.is_limit else Verdict.NESTED
        relation = "is a limit of" if path.is_limit else "is a special case of"
        found.append(
            Finding(
                verdict,
                f"every {path.special} {relation} {path.general}: {path.describe()}",
                path.certificates(),
                path.notes(),
            )
        )
    return found


def _conditions(a: Family, b: Family, tried: list[str]) -> list[Finding]:
    from dsf.equal_when import equal_when

    met = equal_when(a, b)
    if met is None:
        tried.append("conditions on the gates under which they meet: none is known for this pair")
        return []
    statement = f"{a} and {b} agree exactly when " + " and ".join(met.conditions)
    return [Finding(Verdict.EQUAL_WHEN, statement, (met.certificate,))]


def _separations(a: Side, b: Side, tried: list[str], already: bool) -> list[Finding]:
    from dsf.separations import SEPARATIONS, separate

    certificates = separate(a, b)
    if not certificates:
        names = ", ".join(s.name for s in SEPARATIONS)
        tried.append(f"invariants that one has and the other violates: {names}")
        return []
    statement = "; ".join(c.claim for c in certificates[:2])
    return [Finding(Verdict.DIFFERENT, statement, tuple(certificates))]


# ----------------------------------------------------------------- two instances
def _instances(a: Mechanism, b: Mechanism, tried: list[str]) -> list[Finding]:
    from dsf.separations import separate_instances

    certificate = separate_instances(a, b)
    if certificate is not None:
        return [Finding(Verdict.DIFFERENT, certificate.claim, (certificate,))]
    tried.append("an input on which the outputs differ by more than their enclosures: none found")
    return []


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
    from dsf.realize import realize, states_needed

    if isinstance(a, AnyRecurrence):
        raise ShapeError(
            "compare: with u= the first side must be a mechanism, whose kernel is asked"
        )
    need = states_needed(a, u, error=error, relative=relative, budget=budget / 2)
    unit = "|M|" if relative else ""
    statement = (
        f"on this input, error {error:g}{unit} of {names[0]} needs at least {need.lower} and at "
        f"most {need.upper} states"
    )
    states = b.n if isinstance(b, AnyRecurrence) else n
    best = realize(a.kernel(u), states=states, relative=relative, budget=budget / 2)
    notes = [
        f"with {states} states, the best error is between {best.lower:.3g}{unit} and "
        f"{best.upper:.3g}{unit}: no recurrence with {states} states does better"
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
