"""Gen-SVM: the direction and the finite part when several tokens per sample keep attention.

With O_i the tokens of sample i that keep attention in the limit and s the attention reached,

    direction    min |W|_F   s.t.   (x_it - x_iu)' W z_i >= 1   (t in O_i, u not),   = 0   (both in)
    finite part  min |W|_F   s.t.   (x_it - x_iu)' W z_i = log(s_it/s_iu)   for t, u in O_i

and W ~ W^fin + C W^mm with C -> inf.  W^fin lies in the span of the equalities, W^mm is orthogonal
to it (tarzanagh2023, section on nonlinear heads).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, EmptyProblemError, NonFiniteError, ShapeError
from dsf.solvers.svm import printout
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.equalities import LeastNorm, independent, least_norm
from dsf.solvers.svm.instances import log_softmax
from dsf.solvers.svm.problem import Array, MarginProblem, against_others, array, real
from dsf.solvers.svm.solution import MarginSolution

KEPT = 1e-3  # a token with more attention than this is kept
CONTRADICTS = 1e-6  # by how much dependent equalities may miss, relative to their terms


@dataclass(frozen=True, eq=False)
class GenSVM:
    """direction (W^mm, a MarginSolution) and finite part (W^fin, a LeastNorm)."""

    direction: MarginSolution
    finite: LeastNorm

    def prediction(self, W: Array) -> Array:
        """W^fin + C W^mm with C = <W, W^mm>/|W^mm|^2 read off the trained W [d e].

        Raises DomainError if there is no direction.
        """
        V = self.direction.W
        if V is None:
            raise DomainError("prediction: the direction problem has no solution")
        return self.finite.W + float(np.sum(W * V)) / float(np.sum(V * V)) * V

    def check(self) -> bool:
        """Recompute both certificates; True, or CertificateError."""
        return self.direction.check() and self.finite.check()

    def __repr__(self) -> str:
        return printout.gen_svm(self)


def gen_svm(X: Any, z: Any, log_attention: Any, kept: Any = None, **options: Any) -> GenSVM:
    """Direction and finite part from the attention of a trained head.

    X              [n T d] tokens, z [n e] queries
    log_attention  [n T], logarithms of the attention s (logits will do: differences count)
    kept           [n T] bool, the tokens O_i; default s > 1e-3

    With one kept token per sample this is `attention_svm`, and W^fin = 0.
    Raises ShapeError, DTypeError, NonFiniteError (an infinite log attention of a kept token),
    EmptyProblemError (a sample keeps no token, or no token loses), DomainError (dependent tokens
    whose attention contradicts itself, as two equal tokens with different attention).

    >>> X, z = [[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]], [[1.0]]
    >>> g = gen_svm(X, z, np.log([[0.8, 0.2, 1e-9]]))
    >>> g.direction.W[:, 0], g.finite.W[:, 0] / np.log(4)
    (array([1., 1.]), array([ 0.5, -0.5]))
    """
    X, z = real(X, "X", 3), real(z, "z", 2)
    n, T, d = X.shape
    logs = _logs(log_attention, n, T)
    if len(z) != n:
        raise ShapeError(f"`z` must be [n e] with n = {n}; got {list(z.shape)}")
    kept = _kept(kept, logs)
    real(logs[kept], "log_attention", 1)
    anchor = kept.argmax(axis=1)
    sample, plus, minus = against_others(anchor, T)
    equal = kept.ravel()[minus]
    # the anchor against every other token: the remaining pairs follow through the equalities
    everything = MarginProblem.of(
        X.reshape(n * T, d), z, plus, minus, sample,
        bound=np.where(equal, 0.0, 1.0), equality=equal,
    )  # fmt: skip
    problem = independent(everything)
    direction = solve(
        problem, title="Gen-SVM direction", reference="tarzanagh2023, Gen-SVM", **options
    )
    equalities = problem.rows(problem.equality)
    finite = least_norm(equalities, _wanted(equalities, logs))
    _consistent(everything.rows(everything.equality), logs, finite)
    return GenSVM(direction, finite)


def _logs(log_attention: Any, n: int, T: int) -> Array:
    """The logarithms of the attention, checked: [n T] below infinity; -inf is no attention."""
    logs = array(log_attention, "log_attention")
    if logs.dtype.kind not in "iuf":
        raise DTypeError(f"`log_attention` must hold real numbers; got dtype {logs.dtype}")
    if logs.shape != (n, T):
        raise ShapeError(f"`log_attention` must be [n T] = [{n} {T}]; got {list(logs.shape)}")
    if not np.all(logs < np.inf):  # also NaN
        raise NonFiniteError("`log_attention` holds NaN or +inf: the training run broke down")
    return logs.astype(np.float64)


def _kept(kept: Any, logs: Array) -> Array:
    """Which tokens keep attention, bool [n T]: at least one per sample."""
    if kept is None:
        with np.errstate(invalid="ignore"):  # a row of -inf keeps no token, which is said below
            kept = log_softmax(logs) > np.log(KEPT)
    kept = array(kept, "kept")
    if kept.shape != logs.shape or kept.dtype != np.bool_:
        raise ShapeError(
            f"`kept` must be bool [n T] = {list(logs.shape)}; got {kept.dtype} {list(kept.shape)}"
        )
    if not np.all(kept.any(axis=1)):
        i = int(np.flatnonzero(~kept.any(axis=1))[0])
        raise EmptyProblemError(f"sample {i} keeps no token: attention sums to 1, so one must stay")
    return kept


def _wanted(equalities: MarginProblem, logs: Array) -> Array:
    """log(s_it/s_iu), the right-hand sides of the finite part."""
    return logs.ravel()[equalities.plus] - logs.ravel()[equalities.minus]


def _consistent(equalities: MarginProblem, logs: Array, finite: LeastNorm) -> None:
    """Raise DomainError if the equalities left out as dependent ask for something else."""
    wanted = _wanted(equalities, logs)
    off = np.abs(equalities.margins(finite.W) - wanted)
    size = np.abs(equalities.left) @ np.abs(finite.W) * np.abs(equalities.right)
    bad = off > CONTRADICTS * (1.0 + np.abs(wanted) + size.sum(axis=1))
    if np.any(bad):
        j = int(np.flatnonzero(bad)[0])
        raise DomainError(
            f"the attention contradicts itself: tokens {equalities.plus[j] % logs.shape[1]} and "
            f"{equalities.minus[j] % logs.shape[1]} of sample {equalities.query[j]} depend on "
            f"other kept tokens, and the log attention is off by {off[j]:.3g} from what those "
            "give.  No W has this attention: keep fewer tokens, or train longer."
        )
