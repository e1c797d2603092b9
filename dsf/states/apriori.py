"""Bounds that a theorem gives from the singular values alone, without building a system."""

from __future__ import annotations

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
    minima between them).  Stretches add up.
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


def balanced_bound(s: np.ndarray, n: int) -> tuple[float, str]:
    """2 sum_{j>n} b_j for the singular values s [L+1 N] (a row per cut), and the case."""
    layers = [layer_bound(beta) for beta in _clean(s).T[n:]]
    case = "valleys" if any(c == "valleys" for _, c in layers) else "unimodal"
    return 2.0 * sum(b for b, _ in layers), case


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
    rules = {
        "balanced truncation": (balanced_bound, "sandberg2004; 2 sum_{j>n} b_j"),
        "sequential truncation": (
            lambda s, n: (sequential_bound(s, n), "none"),
            "sum_k sigma_{n+1}",
        ),
        "Hankel-norm, dyadic": (
            lambda s, n: (dyadic_bound(s, n, L), "none"),
            "dewilde1998; ceil(log2 L) max_k sigma_{n+1}",
        ),
    }
    out = []
    for name, (rule, reference) in rules.items():
        for n in range(s.shape[1] + 1) if states is None else [states]:
            value, condition = rule(s, n)
            if states is not None or value <= (error or 0.0):
                out.append(TheoremBound(name, n, value, condition, reference))
                break
    return tuple(out)


def _clean(s: np.ndarray) -> np.ndarray:
    return np.where(s > NOISE * s.max(initial=0.0), s, 0.0)
