"""One token of a mechanism in free symbols, for the table of recurrences as optimisers."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.tokens import Tokens
from dsf.theory_tests.icl.linear_is_gradient_step import descent, free, nonzero

N, P = 2, 2


def state_after(mechanism: Any, S: np.ndarray, **fields: np.ndarray) -> np.ndarray:
    """The state [N P] of a mechanism of the catalogue after one token from the state S."""
    tokens = Tokens(q=free("q", 1, N), **{name: x[None] for name, x in fields.items()})
    ltv, X = mechanism.without_parameters().system(tokens)
    return np.asarray(ltv.scan(X, S)[1]).reshape(N, P)


def differs(mechanism: Any, objective: Any, start: Any = None, **fields: np.ndarray) -> int:
    """How many entries of the state differ from one step of size 1 of gradient descent.

    objective(S) is an expression in the free state; the step starts at `start`(S), S by default.
    """
    S = free("S", N, P)
    at = S if start is None else start(S)
    return nonzero(state_after(mechanism, S, **fields) - at - descent(objective(S), S, at))


def token(*names: str) -> dict[str, np.ndarray]:
    """Free k [N], v [P] and the named scalars [1] of one token."""
    return {"k": free("k", N), "v": free("v", P), **{name: free(name, 1) for name in names}}


def squares(S: np.ndarray, k: np.ndarray, v: np.ndarray) -> Any:
    """|v - S'k|^2 / 2."""
    return ((v - S.T @ k) ** 2).sum() / 2
