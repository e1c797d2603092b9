"""Tokens on which a family needs more than n states, and families that need few."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import Letter
from dsf.claims.separation_states import MOST, FewStates, gains, state_rows
from dsf.core.errors import CertificateError, DSFError
from dsf.core.family import Family
from dsf.core.kinds import Step
from dsf.core.opponents import AnyRecurrence
from dsf.core.worlds import precision
from dsf.relations.invariants import paired

TRIES = 3  # random draws of the tokens
BITS = 120  # of the balls in which a draw is tried


def many_states(a: AnyRecurrence, b: Family) -> tuple[dict[str, Letter], Letter] | None:
    """Letters and constants on which b has a Hankel block of rank n + 1; None if none is found.

    A family whose number of states is free is drawn with n + 1 of them, or n + 2 where they are
    pairs.
    """
    N = a.n + 1
    if N > MOST or issubclass(b.cls, Step):
        return None
    for seed in range(TRIES):
        letters, constants = _drawn(b, N, np.random.default_rng(seed))
        try:
            with precision(BITS):
                block = gains(b, letters, constants, N)
                if not _matrix(block).det().contains(0):
                    return letters, constants
        except (CertificateError, DSFError):  # such as a family without values
            return None
    return None


def _drawn(f: Family, N: int, rng: np.random.Generator) -> tuple[dict[str, Letter], Letter]:
    """2N random rational letters of one value channel, with N states."""
    spec = {k: x for k, x in f.spec.items() if k != "pos"}
    n = N + N % 2 if paired(f) else N
    sizes = {"n": n, "p": 1, "d": 1, "s": f.without_parameters().substeps}
    letters = {
        c: {k: x.domain.rational(rng, x.shape(sizes)) for k, x in spec.items() if x.per_token}
        for c in ascii_letters[: 2 * N]
    }
    for fields in letters.values():
        for k in ("v", "u"):
            if k in fields:
                fields[k] = fields[k] * 0 + 1
    return letters, {
        k: x.domain.rational(rng, x.shape(sizes)) for k, x in spec.items() if not x.per_token
    }


def _matrix(block: np.ndarray) -> Any:
    import flint

    return flint.arb_mat(block.tolist())


def few_states(f: Family, other: AnyRecurrence) -> FewStates | None:
    """The claim that every instance of f is one of these recurrences; None if it does not check."""
    try:
        claim = FewStates(upper=next(state_rows(f)), family=f, recurrence=other)
        claim.check()
    except (AttributeError, CertificateError, DSFError):  # attention has no state
        return None
    return claim
