"""The contract that every mechanism keeps, for those who write one: `check_mechanism(mine)`."""

from __future__ import annotations

import warnings

from dsf.core.catalogue import family
from dsf.core.errors import NotContractive
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.testing.facts import FACTS
from dsf.testing.structure import STRUCTURE
from dsf.testing.worlds import WORLDS

CHECKS = {f.__name__: f for f in (*STRUCTURE, *FACTS, *WORLDS)}
SIZES = ({"d": 2, "n": 2, "p": 2, "heads": 1}, {"d": 3, "n": 4, "p": 2, "heads": 2})


def check_mechanism(target: Mechanism | Family | str) -> tuple[str, ...]:
    """Run the whole contract on a mechanism, or on two instances of a family; the checks passed.

    Tokens are pointwise and stay in their domains; `system` reads tokens alone; splitting a
    sequence changes nothing; scan, kernel, chunks and single steps agree; numpy, torch, symbols and
    balls agree; every fact holds; the equations hold no numpy and no float literal.
    Raises ContractError naming the mechanism, what was found and what was claimed.

    >>> import dsf
    >>> len(check_mechanism(dsf.retnet.init(d=2)))
    27
    """
    return tuple(name for name in CHECKS if run_check(name, target))


def run_check(name: str, target: Mechanism | Family | str) -> bool:
    """One check of `CHECKS` by name; True, or ContractError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)  # the contract draws such keys on purpose
        for mech in instances(target):
            CHECKS[name](mech)
    return True


def instances(target: Mechanism | Family | str) -> list[Mechanism]:
    """The mechanism itself, or a family drawn with one head and with two."""
    if isinstance(target, Mechanism):
        return [target]
    if isinstance(target, str):
        target = family(target)
    return [target.init(**sizes, seed=1) for sizes in SIZES]
