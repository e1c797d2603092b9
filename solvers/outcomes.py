"""Where training went: to the global solution, to a local one, or to neither."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from dsf.solvers.attention import attention_svm
from dsf.solvers.instances import attention
from dsf.solvers.problem import Array

SATURATED = 1e-3  # how much attention a sample may leave on other tokens
ACTIVE = {"frobenius": 1e-6, "nuclear": 1e-4}  # margins below 1 + ACTIVE count as active


class Outcome(Enum):
    """What the attention of a trained head selects; the value says what it means."""

    GLOBAL = "every sample attends to its best token"
    LOCAL = "a locally optimal selection: every active rival scores lower"
    NOT_LOCAL = "a selection that is not locally optimal"
    UNCLASSIFIED = "attention has not saturated, or no weights separate the selection"


@dataclass(frozen=True, eq=False)
class Classified:
    """The outcome of one run.

    selection     the token with the largest attention, per sample
    correlation   <W, W_a> / (|W| |W_a|) with the solution of that selection
    all_active    whether every other token is a support vector of that solution
    """

    outcome: Outcome
    selection: tuple[int, ...]
    correlation: float = float("nan")
    all_active: bool = False


def classify(W: Array, X: Array, z: Array, scores: Array, norm: str = "frobenius") -> Classified:
    """Which selection the weights W [d e] of a run went to, and whether training belongs there.

    X [n T d], z [n e], scores [n T]; norm "frobenius" for training of W, "nuclear" for W = K Q'.
    This is the float classification of the papers' figures, with the thresholds above;
    `local_optimality` proves it.

    >>> from dsf.solvers.instances import named
    >>> i = named("A")
    >>> W = 20 * attention_svm(i.X, i.z, i.optimal).W
    >>> classify(W, i.X, i.z, i.scores).outcome.name
    'GLOBAL'
    """
    s = attention(W, X, z)
    picked = s.argmax(axis=1)
    selection = tuple(int(t) for t in picked)
    if np.any(s.max(axis=1) < 1 - SATURATED):
        return Classified(Outcome.UNCLASSIFIED, selection)
    # the splitting method first: it is several times faster, and its gap is proved all the same
    solvers = ("SCS", "CLARABEL") if norm == "nuclear" else None
    solution = attention_svm(X, z, picked, norm=norm, solvers=solvers)
    if solution.W is None or not solution.feasible:
        return Classified(Outcome.UNCLASSIFIED, selection)
    target = solution.W
    correlation = float(np.sum(W * target) / (np.linalg.norm(W) * np.linalg.norm(target)))
    a = np.einsum("itd,de,ie->it", X, target, z)
    rows = np.arange(len(X))
    active = a[rows, picked][:, None] - a < 1 + ACTIVE[norm]
    active[rows, picked] = False
    all_active = bool(active.sum() == active.size - len(X))
    if np.array_equal(picked, scores.argmax(axis=1)):
        outcome = Outcome.GLOBAL
    else:
        better = scores >= scores[rows, picked][:, None]
        outcome = Outcome.NOT_LOCAL if np.any(active & better) else Outcome.LOCAL
    return Classified(outcome, selection, correlation, all_active)
