"""Frozen students: a recurrence of the catalogue whose tokens are free numbers, no maps of inputs.

Its kernel is the mechanism's own run on the identity as values, so that the equations stand in the
mechanism's file alone and the compiled kernels give the gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import NotLinearError
from dsf.core.family import Family
from dsf.core.fields import Domain
from dsf.core.kinds import Recurrence
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.tokens import Tokens

EDGE = 1e-12  # what is taken as the end of an interval when a number is drawn out of it


def student(family: Family) -> Mechanism:
    """The family's equations, if free tokens can make a kernel of it; NotLinearError otherwise."""
    mech = family.without_parameters()
    plain = isinstance(mech, Recurrence) and mech.substeps == 1 and mech.lookback == 0
    if not (plain and {"q", "k", "v"} <= family.spec.keys() and "pos" not in family.spec):
        raise NotLinearError(
            f"distil: into={family} has no kernel of free q, k and gates. Required: a recurrence "
            "with one step per token and these tokens, such as gla, mamba2, gated_deltanet."
        )
    return mech


def kernel(mech: Mechanism, tok: Tokens) -> Array:
    """The token-mixing matrix [... L L] of tokens without values, in the world of the tokens.

    The output on the values v = I: column j is the response to the value of token j.
    """
    eye = ops.eye(tok.q.shape[-2], tok.q)
    out = mech.advance(tok.replace(v=ops.broadcast_to(eye, (*tok.q.shape[:-2], *eye.shape))),
                       State())[0]  # fmt: skip
    return out[..., 0, :]


def fields(mech: Mechanism) -> dict[str, Domain]:
    """The domains of the tokens that are free: all but the values."""
    return {name: f.domain for name, f in mech.token_fields.items() if name != "v"}


def free(domain: Domain, x: np.ndarray) -> np.ndarray:
    """Real numbers that `bound` maps to x: its inverse (of unit rows, themselves)."""
    if domain.low is not None and domain.high is not None:
        y = np.clip((x - domain.low) / (domain.high - domain.low), EDGE, 1 - EDGE)
        return np.log(y) - np.log1p(-y)
    if domain.high is not None:  # log a < 0: the logit of a
        y = np.minimum(x - domain.high, -EDGE)
        return y - np.log(-np.expm1(y))
    if domain.low is not None:
        return np.log(np.maximum(x - domain.low, EDGE))
    return x


def bound(domain: Domain, x: Array) -> Array:
    """Numbers of a domain from free ones: logistic on an interval, log-logistic below 0, exp above
    0, unit rows divided by their length.

    >>> from dsf.core.fields import NEGATIVE
    >>> float(bound(NEGATIVE, np.log(3.0)).round(12)) == float(np.log(0.75).round(12))
    True
    """
    if domain.unit:
        return ops.normalise(x)
    if domain.low is not None and domain.high is not None:
        return domain.low + (domain.high - domain.low) * ops.sigmoid(x)
    if domain.high is not None:
        return domain.high + ops.logsigmoid(x)
    return x if domain.low is None else domain.low + ops.exp(x)


def sizes(mech: Mechanism, n: int, L: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the free tokens."""
    known: dict[str, Any] = {"n": n, "p": 1, "s": 1}
    return {k: f.shape(known, L) for k, f in mech.token_fields.items() if k != "v"}
