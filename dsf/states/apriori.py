"""Bounds that a theorem gives from the singular values alone, without building a system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsf.core.printing import at_most, n_states

NOISE = 1e-13  # relative to the largest one: smaller singular values are rounding
ALIKE = 1e-6  # relative: errors that are made of singular values computed on two machines


@dataclass(frozen=True)
class TheoremBound:
    """`states` states give an error of at most `error`, by a theorem; no system was built.

    The singular values behind it are float64 numbers, not enclosures; those that are rounding
    count as zero.  So "error <= 0" holds up to rounding only.

    >>> print(TheoremBound("sequential truncation", 1, 0.5, "none", "sum_k sigma_{n+1}"))
    1 state, error <= 0.5 (sigma in float64): sequential truncation
    """

    name: str
    states: int
    error: float
    condition: str
    reference: str

    def follows(self, other: TheoremBound) -> bool:
        """Whether another one says the same, its error to the accuracy of singular values."""
        words = ("name", "states", "condition", "reference")
        same = all(getattr(self, k) == getattr(other, k) for k in words)
        near = abs(self.error - other.error) <= ALIKE * (self.error + other.error)
        return same and (near or max(self.error, other.error) <= NOISE)

    def __str__(self) -> str:
        condition = "" if self.condition == "none" else f" ({self.condition})"
        bound = f"error <= {at_most(self.error, 3)} (sigma in float64)"
        return f"{n_states(self.states)}, {bound}: {self.name}{condition}"


def layer_bound(beta: np.ndarray) -> tuple[float, str]:
    """The b_j of balanced truncation for one layer beta[k] = sigma_j(H_k), and which case applied.

    Removing the layer costs at most 2 b_j.  Over each stretch where beta > 0, b is its maximum if
    it is monotone or unimodal; in general (product of local maxima) / (product of the local
    minima between them).  Stretches add up.  `layer_bounds` does all layers at once.
    """
    total, case = 0.0, "unimodal"
    edges = np.flatnonzero(np.diff(np.concatenate([[0], beta > 0, [0]]).astype(int)))
    for start, stop in edges.reshape(-1, 2):
        x = beta[start:stop]
        turns = x[np.concatenate([[True], np.diff(x) != 0])]  # drop repeats, then walk the slopes
        up = np.concatenate([[True], np.diff(turns) > 0])
        down = np.concatenate([np.diff(turns) < 0, [True]])
        maxima = turns[up & down]
        minima = turns[~up & ~down]
        if maxima.size > 1:
            case = "valleys"
        total += float(np.exp(np.log(maxima).sum() - np.log(minima).sum()))
    if edges.size > 2:
        case = "valleys"
    return total, case


def layer_bounds(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`layer_bound` of every column of beta [K N] at once: b [N], and whether it has valleys [N].

    All columns are one series, with a zero before and after each.  A stretch is what stands
    between two zeros, so the extrema of the series are those of the stretches.
    """
    K, N = beta.shape
    x = np.zeros((N, K + 1))
    x[:, :K] = beta.T
    x = np.concatenate([[0.0], x.ravel()])
    at = np.flatnonzero(np.diff(x, prepend=-1.0))  # the first of each run of repeats
    x = x[at]
    rises = np.diff(x) > 0
    inner = np.zeros(x.size, dtype=bool)
    inner[1:-1] = x[1:-1] > 0
    before, after = np.append(False, rises), np.append(rises, False)
    maxima, minima = inner & before & ~after, inner & ~before & after
    column, stretch = (at - 1) // (K + 1), np.cumsum(x == 0) - 1
    turn = maxima | minima
    logs = np.where(maxima[turn], 1.0, -1.0) * np.log(x[turn])
    which, first = np.unique(stretch[turn], return_index=True)
    products = np.exp(np.bincount(stretch[turn], logs)[which])
    b = np.bincount(column[turn][first], products, minlength=N)
    return b, np.bincount(column[maxima], minlength=N) > 1


def balanced_bounds(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2 sum_{j>n} b_j for n = 0..N, of the singular values s [L+1 N] (a row per cut).

    With it whether some layer j > n has valleys; both [N+1].
    """
    b, valleys = layer_bounds(_clean(s))
    errors = 2.0 * np.append(np.cumsum(b[::-1])[::-1], 0.0)
    return errors, np.append(np.logical_or.accumulate(valleys[::-1])[::-1], False)


def sequential_bound(s: np.ndarray, n: int) -> float:
    """sum_k sigma_{n+1}(H_k): sequential truncation to n states."""
    return float(s[:, n].sum()) if n < s.shape[1] else 0.0


def dyadic_levels(L: int) -> int:
    """ceil(log2 L): the number of halvings until every block is a single step."""
    return max(int(np.ceil(np.log2(L))), 1) if L > 1 else 0


def dyadic_bound(s: np.ndarray, n: int, L: int) -> float:
    """ceil(log2 L) max_k sigma_{n+1}(H_k): Hankel-norm approximation and the dyadic lemma."""
    return dyadic_levels(L) * float(s[:, n].max(initial=0.0)) if n < s.shape[1] else 0.0


def theorem_bounds(
    s: np.ndarray, L: int, error: float | None = None, states: int | None = None
) -> tuple[TheoremBound, ...]:
    """The theorems at a given number of states, or at the smallest number that reaches `error`."""
    balanced, valleys = balanced_bounds(s)

    def layers(n: int) -> tuple[float, str]:
        n = min(n, s.shape[1])
        return float(balanced[n]), "valleys" if valleys[n] else "unimodal"

    rules: dict[str, tuple[Callable[[int], tuple[float, str]], str]] = {
        "balanced truncation": (layers, "sandberg2004; 2 sum_{j>n} b_j"),
        "sequential truncation": (
            lambda n: (sequential_bound(s, n), "none"),
            "sum_k sigma_{n+1}",
        ),
        "Hankel-norm, dyadic": (
            lambda n: (dyadic_bound(s, n, L), "none"),
            "dewilde1998; ceil(log2 L) max_k sigma_{n+1}",
        ),
    }
    out = []
    for name, (rule, reference) in rules.items():
        for n in range(s.shape[1] + 1) if states is None else [states]:
            value, condition = rule(n)
            if states is not None or value <= (error or 0.0):
                out.append(TheoremBound(name, n, value, condition, reference))
                break
    return tuple(out)


def _clean(s: np.ndarray) -> np.ndarray:
    return np.where(s > NOISE * s.max(initial=0.0), s, 0.0)
