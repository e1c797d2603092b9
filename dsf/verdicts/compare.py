"""`dsf.compare`: which verdict can be proved about two mechanisms, in which scope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dsf.core import ops
from dsf.core.arrays import at_least_float32, to_numpy
from dsf.core.certificate import Scope
from dsf.core.errors import ShapeError
from dsf.core.mechanism import Mechanism
from dsf.core.opponents import AnyRecurrence
from dsf.states.inputs import tolerance
from dsf.verdicts import question as ask
from dsf.verdicts.comparison import Comparison
from dsf.verdicts.differences import compared
from dsf.verdicts.families import conditions, counts, nestings, separations
from dsf.verdicts.finding import Outcome
from dsf.verdicts.inputs import states_on_this_input
from dsf.verdicts.instances import different_outputs, equal_parameters
from dsf.verdicts.question import Question

# what is tried in each scope: a question in, findings and what was looked for out
STRATEGIES: dict[Scope, tuple[Callable[[Question], Outcome], ...]] = {
    Scope.RECURRENCE: (nestings, counts, conditions, separations),
    Scope.INSTANCE: (equal_parameters, different_outputs),
    Scope.OPERATOR: (states_on_this_input,),
}


def compare(
    a: Any,
    b: Any,
    u: Any = None,
    *,
    d: int | None = None,
    n: int = 8,
    p: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
) -> Comparison:
    """What can be proved about two mechanisms, with certificates.

        two families             all token sequences, gates free             scope recurrence
        two instances            these parameters, all inputs                scope instance
        with u [L d]             the first one's kernel on this input        scope operator

    a and b are families, their names, instances (or modules), or `dsf.recurrence(n)`, which stands
    for every recurrence with n states.  `d` fixes the model width where an answer depends on it.
    With `u`, families are drawn by init(d=u.shape[-1], n=n, p=p, seed=seed); the statement is then
    about the first one's kernel M against *any* recurrence: how many states an error needs, and how
    small the error with n states (those of `dsf.recurrence`) can be; the second one's own kernel is
    counted beside it.  The error is in the operator 2-norm: rtol |M|, or atol; rtol=1e-2 if neither
    is given.  `time_limit`: seconds for that count.

    Raises UnknownNameError, ShapeError, DomainError, and the errors of the mechanisms themselves.

    >>> import dsf
    >>> c = dsf.compare("deltanet", "deltaproduct")
    >>> c.verdict.name, c.scope.value, c.check()
    ('NESTED', 'recurrence', True)
    """
    start = time.perf_counter()
    u = to_numpy(at_least_float32(u)) if ops.is_torch(u) else u
    sides = ask.side(a), ask.side(b)
    names = ask.name(sides[0]), ask.name(sides[1])
    left, right = (ask.drawn(x, u, n, p, seed) for x in sides)
    if u is None and isinstance(left, Mechanism) != isinstance(right, Mechanism):
        raise ShapeError(
            f"compare: one side is an instance, the other is not ({names[0]}, {names[1]}). Give "
            "two families, two instances, or an input u= to draw the family at."
        )
    states = right.n if isinstance(right, AnyRecurrence) else n
    tol = tolerance("compare", rtol, atol)
    question = Question(names, left, right, u, d, states, tol, time_limit)
    outcomes = [strategy(question) for strategy in STRATEGIES[question.scope]]
    findings = sorted((f for o in outcomes for f in o.findings), key=lambda f: f.rank())
    tried = [] if findings else [o.looked_for for o in outcomes if o.looked_for]
    return Comparison(
        *names,
        question.scope,
        tuple(findings),
        compared(left, right),
        tuple(tried),
        time.perf_counter() - start,
        d,
        (left, right, u),
    )
