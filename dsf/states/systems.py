"""The systems that a certificate holds as witnesses, as LTVs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag
from dsf.states.compress import pad
from dsf.states.operator import System, diagonal

Head = Mapping[str, Any]  # the witnesses of one operator


def has_backward(heads: Sequence[Head]) -> bool:
    """Whether some operator has entries above its diagonal."""
    return any("backward" in head for head in heads)


def ltv(heads: Sequence[Head], direction: str, batch: bool) -> LTV:
    """One LTV for the operators of the witnesses, padded, as a batch or (of a single one) not.

    The cache of all inputs if any of them uses it; no state where one is causal.
    """
    operators = [head["M"] for head in heads]
    systems = [_system(head, direction) for head in heads]
    if any(s is None for s in systems):
        return _cache(operators, direction, batch)
    L, r, _, m = operators[0].shape
    A, B, C, D = (list(x) for x in zip(*[s for s in systems if s is not None], strict=True))
    n = max(x.shape[-1] for x in A)

    def padded(arrays: list[np.ndarray], *shape: int) -> np.ndarray:
        out = pad(arrays, (len(arrays), *shape))
        return out if batch else out[0]

    return LTV(
        Dense(padded(A, L, n, n)), padded(B, L, n, m), padded(C, L, r, n), padded(D, L, r, m),
        read="before", steps=L,
    )  # fmt: skip


def _system(head: Head, direction: str) -> System | None:
    """The system of one operator: stored, empty, or None for the cache."""
    L, r, _, m = head["M"].shape
    if direction not in head:
        return np.zeros((L, 0, 0)), np.zeros((L, 0, m)), np.zeros((L, r, 0)), np.zeros((L, r, m))
    stored = head[direction]
    if stored.get("cache") is True:
        return None
    D = head["D"] if direction == "forward" else np.zeros((L, r, m))
    return stored["A"], stored["B"], stored["C"], D


def _cache(operators: list[np.ndarray], direction: str, batch: bool) -> LTV:
    """S_t = S_{t-1} + e_t x_t, C_t = row t of M: the growing key-value cache, exact."""
    forward = direction == "forward"
    operators = operators if forward else [M[::-1, :, ::-1, :] for M in operators]
    L, r, _, m = operators[0].shape
    n = max(L - 1, 0) * m
    B = np.eye(L * m)[:n].reshape(n, L, m).swapaxes(0, 1)
    t = np.arange(L)
    earlier = (t[:, None] > t[None, : L - 1])[:, None, :, None]
    C = [np.where(earlier, M[:, :, : L - 1, :], 0.0).reshape(L, r, n) for M in operators]
    D = [diagonal(M) * forward for M in operators]
    first = (lambda x: np.stack(x)) if batch else (lambda x: x[0])
    return LTV(Diag(a=np.ones((1, 1))), B, first(C), first(D), read="before", steps=L)
