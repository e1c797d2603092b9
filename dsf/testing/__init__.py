"""The contract that every mechanism keeps, for those who write one: `check_mechanism(mine)`."""

from __future__ import annotations

import warnings

import dsf.mechanisms  # noqa: F401  (fills the registry)
from dsf.core.errors import NotContractive
from dsf.core.family import REGISTRY, Family
from dsf.core.mechanism import Mechanism
from dsf.testing.structure import STRUCTURE
from dsf.testing.worlds import WORLDS

CHECKS = {f.__name__: f for f in (*STRUCTURE, *WORLDS)}
SIZES = ({"d": 2, "n": 2, "p": 2, "heads": 1}, {"d": 3, "n": 4, "p": 2, "heads": 2})

# the options beside the registered defaults: what the suites of this package add to `REGISTRY`
VARIANTS = (
    "linear_attn(phi=elu+1)",
    "linear_attn(phi=exp)",
    "linear_attn(phi=taylor)",
    "linear_attn(phi=favor)",
    "linear_attn(phi=taylor,normalise=True)",
    "normalised_attn(eta=softplus)",
    "normalised_attn(eta=sigmoid)",
    "retnet(rotation=True)",
    "retnet(rotation=qk)",
    "s4d(discretisation=bilinear)",
    "mamba(discretisation=zoh)",
    "mamba(skip=True)",
    "mamba2(skip=True)",
    "mamba3(skip=True)",
    "deltanet(reach=2)",
    "deltanet(unit_keys=False)",
    "gated_deltanet(reach=2)",
    "deltaproduct(steps=1)",
    "deltaproduct(steps=3,reach=1)",
    "rwkv6(read=after)",
    "qlstm(reversed=True)",
    "window_softmax(width=1)",
)

NAMES = (*REGISTRY, *VARIANTS)


def check_mechanism(target: Mechanism | Family | str) -> tuple[str, ...]:
    """Run the whole contract on a mechanism, or on two instances of a family; the checks passed.

    Tokens are pointwise and stay in their domains; `system` reads tokens alone; splitting a
    sequence changes nothing; scan, kernel, chunks and single steps agree; numpy, torch, symbols and
    balls agree; every fact holds; the equations hold no numpy and no float literal.
    Raises ContractError naming the mechanism, what was found and what was claimed.

    >>> import dsf
    >>> len(check_mechanism(dsf.retnet.init(d=2)))
    26
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
        from dsf.core.family import family

        target = family(target)
    return [target.init(**sizes, seed=1) for sizes in SIZES]
