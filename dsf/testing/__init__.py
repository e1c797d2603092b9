"""The contract that every mechanism keeps, for those who write one: `check_mechanism(mine)`."""

from __future__ import annotations

import warnings

from dsf.core.catalogue import family
from dsf.core.errors import ContractError, DomainError, NotContractive
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.testing.facts import FACTS
from dsf.testing.structure import STRUCTURE, Formula, formula_agrees
from dsf.testing.worlds import WORLDS

CHECKS = {f.__name__: f for f in (*STRUCTURE, *FACTS, *WORLDS)}
SIZES = ({"d": 2, "n": 2, "p": 2, "heads": 1}, {"d": 3, "n": 4, "p": 2, "heads": 2})


def check_mechanism(
    target: Mechanism | Family | str, formula: Formula | None = None
) -> tuple[str, ...]:
    """Run the whole contract on a mechanism, or on two instances of a family; the checks passed.

    Tokens are pointwise and stay in their domains; the recurrence reads tokens alone, and each of
    them; splitting a sequence changes nothing; scan, kernel, chunks and single steps agree; numpy,
    torch, symbols and balls agree; every fact holds; the equations hold no numpy and no float
    literal.  `formula(S, t) -> S, y` is one token of one head in plain numpy, S [n p], with the
    rows of the tokens as `t.q [n]`, `t.v [p]`, ...: given, the mechanism has to agree with it.
    Raises ContractError naming the mechanism, what was found and what was claimed.

    >>> import dsf, numpy as np
    >>> def retention(S, t):
    ...     S = t.gamma * S + np.outer(t.k, t.v)
    ...     return S, S.T @ t.q
    >>> len(check_mechanism(dsf.retnet.init(d=2), retention))
    29
    """
    passed = [name for name in CHECKS if run_check(name, target)]
    if formula is not None:
        for mech in instances(target):
            formula_agrees(mech, formula)
        passed.append(formula_agrees.__name__)
    return tuple(passed)


def run_check(name: str, target: Mechanism | Family | str) -> bool:
    """One check of `CHECKS` by name; True, or ContractError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)  # the contract draws such keys on purpose
        for mech in instances(target):
            try:
                CHECKS[name](mech)
            except DomainError as e:  # of tokens that the mechanism itself makes
                raise ContractError(str(e)) from e
    return True


def instances(target: Mechanism | Family | str) -> list[Mechanism]:
    """The mechanism itself, or a family drawn with one head and with two."""
    if isinstance(target, Mechanism):
        return [target]
    return [family(target).init(**sizes, seed=1) for sizes in SIZES]
