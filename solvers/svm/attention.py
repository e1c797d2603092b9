"""Attention as a support vector machine: which W makes softmax(X_i W z_i) pick the chosen tokens.

    minimise |W|   subject to   (x_{i,opt_i} - x_{it})' W z_i >= 1   for all i and t != opt_i

The gradient method on the matrix W of an attention head converges in direction to the solution for
the Frobenius norm, the one on W = K Q' to a solution for the nuclear norm (tarzanagh2023), mirror
descent with potential (1/p) sum |W_ij|^p to the one for the entrywise p-norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, EmptyProblemError, ShapeError, TieError
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.problem import (
    Array,
    MarginProblem,
    array,
    attention_problem,
    real,
    selection,
    token_scores,
)
from dsf.solvers.svm.solution import MarginSolution

REFERENCES = {
    "frobenius": "tarzanagh2023, (Att-SVM)",
    "nuclear": "tarzanagh2023, (Att-SVM*)",
    "entrywise": "julistiono2024, (lp-AttSVM)",
}


def attention_svm(
    X: Any,
    z: Any,
    optimal: Any = None,
    norm: str = "frobenius",
    *,
    p: float | None = None,
    scores: Any = None,
    solvers: Sequence[str] | None = None,
    goal: float | None = None,
    isolate: bool = False,
    time_limit: float = 60.0,
) -> MarginSolution:
    """The W of least norm that separates the optimal token of every sample, with a certificate.

        min |W|   s.t.   (x_{i,opt_i} - x_{it})' W z_i >= 1   for all i, t != opt_i

    X        [n T d] tokens (keys), real
    z        [n e] queries; self-attention: X[:, 0]
    optimal  [n] int, the chosen token of each sample; or None with
    scores   [n T] token scores, whose largest entry of each row is the optimal token; given
             with `optimal`, they must agree (a tie is decided by `optimal`)
    norm     "frobenius", "nuclear", or "entrywise" with 1 < p < inf
    the rest: see `dsf.solvers.svm.chain.solve`

    Returns a `MarginSolution`: feasible (True; False only with an exact proof; None: undecided),
    W [d e], value (the norm), margin = 1/value, multipliers [n (T - 1)] (i-major, t ascending),
    certificate, rank (nuclear).  All float64.

    Raises ShapeError, DTypeError, NonFiniteError, DomainError (an index, a norm, `optimal` against
    `scores`), TieError (two equal best scores), EmptyProblemError (no sample, or one token each),
    SolverMissingError.
    Source: tarzanagh2023 (2308.16898), problems Att-SVM and Att-SVM*.

    >>> s = attention_svm([[[1.0, 0.0], [0.0, 1.0]]], [[2.0, 0.0]], [0])
    >>> s.W
    array([[ 0.25,  0.  ],
           [-0.25,  0.  ]])
    >>> s.feasible, round(s.margin, 9), s.check()
    (True, 2.828427125, True)
    """
    if scores is not None:
        scores = token_scores(scores, *real(X, "X", 3).shape[:2])
        optimal = optimal_tokens(scores) if optimal is None else _best(optimal, scores)
    elif optimal is None:
        raise EmptyProblemError("attention_svm needs `optimal` [n] or `scores` [n T]")
    return solve(
        attention_problem(X, z, optimal),
        norm,
        p,
        solvers=solvers,
        goal=goal,
        isolate=isolate,
        time_limit=time_limit,
        title="attention-SVM",
        reference=REFERENCES.get(str(norm), ""),
    )


def optimal_tokens(scores: Any) -> Array:
    """The token of largest score of every sample, [n] from scores [n T].

    Raises TieError where two tokens share the largest score: the theory asks for one optimal token,
    so the choice has to be made by hand.

    >>> optimal_tokens([[0.5, 2.0, 1.0]])
    array([1])
    """
    scores = real(scores, "scores", 2)
    if scores.shape[1] == 0:
        raise EmptyProblemError("`scores` has no token: it must be [n T] with T >= 1")
    best = scores.max(axis=1, keepdims=True)
    ties = np.flatnonzero((scores == best).sum(axis=1) > 1)
    if len(ties):
        i = int(ties[0])
        tokens = np.flatnonzero(scores[i] == best[i]).tolist()
        raise TieError(
            f"sample {i}: tokens {tokens} share the largest score {best[i, 0]:.6g}, so the "
            "optimal token is not defined.  Choose one and pass optimal=[...] explicitly."
        )
    return scores.argmax(axis=1).astype(np.int64)


def _best(optimal: Any, scores: Array) -> Array:
    """`optimal`, checked to have the largest scores."""
    chosen = selection(optimal, *scores.shape)
    worse = np.flatnonzero(scores[np.arange(len(chosen)), chosen] < scores.max(axis=1))
    if len(worse):
        i = int(worse[0])
        raise DomainError(
            f"`optimal[{i}]` = {chosen[i]} contradicts `scores`, where token "
            f"{scores[i].argmax()} is better.  Pass one of the two; to ask for a selection that is "
            "not the best one, leave `scores` out (see also `local_optimality`)."
        )
    return chosen


def separability(X: Any, z: Any, optimal: Any) -> MarginSolution:
    """Whether some W gives every chosen token a positive margin, with the proof of the answer.

    The question is the same in every norm; the cheapest is used.  If d >= max(T - 1, n), almost
    every data set is separable, for every choice of tokens (tarzanagh2023).  Arguments and errors:
    `attention_svm`.

    >>> separability([[[1.0], [1.0]]], [[1.0]], [0]).feasible
    False
    """
    return attention_svm(X, z, optimal, goal=float("inf"))


def causal_svm(X: Any, optimal: Any, norm: str = "frobenius", **options: Any) -> MarginSolution:
    """The attention-SVM of an output at every position, each attending to its past.

        min |W|   s.t.   (x_{i,a_ik} - x_{it})' W x_{ik} >= 1   for all i, k, t <= k, t != a_ik

    X [n T d] sequences, optimal [n T] int with optimal[i, k] <= k, or -1 where position k has no
    choice to make.  Position 0 sees one token and gives no constraint.  Other arguments, result,
    errors: `attention_svm`.  Source: tarzanagh2023, the sequence extension.

    >>> s = causal_svm([[[1.0, 0.0], [0.0, 1.0]]], [[0, 1]])
    >>> s.W
    array([[ 0. , -0.5],
           [ 0. ,  0.5]])
    """
    return solve(
        causal_problem(X, optimal),
        norm,
        title="causal attention-SVM",
        reference=REFERENCES.get(str(norm), ""),
        **options,
    )


def causal_problem(X: Any, optimal: Any) -> MarginProblem:
    """The rows of `causal_svm`, ordered by sample, position, token."""
    X = real(X, "X", 3)
    n, T, d = X.shape
    chosen = array(optimal, "optimal")
    if chosen.shape != (n, T):
        raise ShapeError(
            f"`optimal` must be [n T] = [{n} {T}], one token per position of X [{n} {T} {d}]; got "
            f"{list(chosen.shape)}"
        )
    if chosen.dtype.kind not in "iu":
        raise DTypeError(f"`optimal` must hold token indices (integers); got {chosen.dtype}")
    i, k, t = np.meshgrid(np.arange(n), np.arange(T), np.arange(T), indexing="ij")
    a = chosen[i, k]
    if np.any(chosen > np.arange(T)) or np.any(chosen < -1):
        raise DomainError(
            "`optimal`[i, k] must lie in [0, k]: position k sees the tokens up to itself, -1 "
            "leaves it out"
        )
    use = (a >= 0) & (t <= k) & (t != a)
    i, k, t, a = i[use], k[use], t[use], a[use]
    tokens = X.reshape(n * T, d)
    return MarginProblem.of(tokens, tokens, i * T + a, i * T + t, i * T + k)
