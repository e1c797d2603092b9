"""Where training went: to the global solution, to a local one, or to neither."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.svm.attention import attention_svm
from dsf.solvers.svm.instances import attention
from dsf.solvers.svm.problem import Array, real

SATURATED = 1e-3  # how much attention a sample may leave on other tokens
# the splitting method first: it is several times faster, and its gap is proved all the same
SOLVERS = {"frobenius": None, "nuclear": ("SCS", "CLARABEL")}


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
    correlation   <W, W_a> / (|W| |W_a|) with the solution of that selection; nan without one
    all_active    whether every other token is a support vector of that solution
    """

    outcome: Outcome
    selection: tuple[int, ...]
    correlation: float = float("nan")
    all_active: bool = False


def corr(A: Array, B: Array) -> Array:
    """<A, B>/(|A| |B|) over the last two axes; 0 if A or B is zero.

    >>> float(corr(np.eye(2), 3 * np.eye(2)))
    1.0
    """
    size = np.linalg.norm(A, axis=(-2, -1)) * np.linalg.norm(B, axis=(-2, -1))
    return np.sum(A * B, axis=(-2, -1)) / np.where(size > 0, size, 1.0)


def classify(W: Array, X: Array, z: Array, scores: Array, norm: str = "frobenius") -> Classified:
    """Which selection the weights W [d e] of a run went to, and whether training belongs there.

    X [n T d], z [n e], scores [n T]; norm "frobenius" for training of W, "nuclear" for W = K Q'.
    A sample whose best score is shared is served by any token that has it.  With one token per
    sample there is nothing to select: GLOBAL, without correlation.  This is the float
    classification of the papers' figures, with the active set of `MarginSolution`;
    `local_optimality` proves it.  Raises ShapeError, DTypeError, NonFiniteError (as for the weights
    of a run that broke down), DomainError (another norm).

    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> W = 20 * attention_svm(i.X, i.z, i.optimal).W
    >>> classify(W, i.X, i.z, i.scores).outcome.name
    'GLOBAL'
    """
    if norm not in SOLVERS:
        raise DomainError(f"classify knows the norms {', '.join(SOLVERS)}; got {norm!r}")
    W, X, z, scores = real(W, "W", 2), real(X, "X", 3), real(z, "z", 2), real(scores, "scores", 2)
    n, T, d = X.shape
    if scores.shape != (n, T) or len(z) != n or W.shape != (d, z.shape[1]):
        raise ShapeError(
            f"with X [{n} {T} {d}], z must be [{n} e], W [{d} e], scores [{n} {T}]; got z "
            f"{list(z.shape)}, W {list(W.shape)}, scores {list(scores.shape)}"
        )
    s = attention(W, X, z)
    picked = s.argmax(axis=1)
    selection = tuple(int(t) for t in picked)
    if np.any(s.max(axis=1) < 1 - SATURATED):
        return Classified(Outcome.UNCLASSIFIED, selection)
    rows = np.arange(n)
    best = scores[rows, picked] == scores.max(axis=1)
    if T == 1:
        return Classified(Outcome.GLOBAL, selection)
    solution = attention_svm(X, z, picked, norm=norm, solvers=SOLVERS[norm])
    if solution.W is None or solution.active is None:
        return Classified(Outcome.UNCLASSIFIED, selection)
    rival = (scores >= scores[rows, picked][:, None])[np.arange(T) != picked[:, None]]
    if best.all():
        outcome = Outcome.GLOBAL
    else:  # the rows are those of the other tokens, sample by sample
        outcome = Outcome.NOT_LOCAL if np.any(solution.active & rival) else Outcome.LOCAL
    return Classified(outcome, selection, float(corr(W, solution.W)), bool(solution.active.all()))
