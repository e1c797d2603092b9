"""Max-margin token selection: the same problem for a trainable prompt p instead of W.

f(X) = v'X' softmax(K p) with keys k_it.  Training p at fixed values selects tokens by

    minimise |p|   subject to   p'(k_{i,opt_i} - k_it) >= 1   for all i, t != opt_i .

Training v and p together: v becomes the max-margin classifier of the selected tokens, and p has to
separate strictly only the samples that are support vectors of v (tarzanagh2023b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.problem import Array, MarginProblem, against_others, array, real, selection
from dsf.solvers.svm.selections import inactive
from dsf.solvers.svm.solution import ACTIVE, MarginSolution

REFERENCE = "tarzanagh2023b, (ATT-SVM)"


def prompt_svm(keys: Any, optimal: Any, strict: Any = None, **options: Any) -> MarginSolution:
    """The shortest prompt that selects the optimal token of every sample.

        min |p|   s.t.   p'(k_{i,opt_i} - k_it) >= 1   (i strict),   >= 0   (the others)

    keys [n T d] (K = X W' for key weights W), optimal [n] int, strict [n] bool (default: all).
    The result has W = p as a column [d 1].  Raises as `attention_svm`; EmptyProblemError if no
    sample is strict.  Source: tarzanagh2023b (2306.13596), ATT-SVM and its relaxed form.

    >>> s = prompt_svm([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]], [0, 0])
    >>> s.W[:, 0]
    array([1. , 0.5])
    """
    keys = real(keys, "keys", 3)
    n, T, d = keys.shape
    chosen = selection(optimal, n, T)
    strict = np.ones(n, dtype=bool) if strict is None else array(strict, "strict")
    if strict.shape != (n,) or strict.dtype != np.bool_:
        raise ShapeError(f"`strict` must be bool [n] = [{n}]; got {strict.dtype} {strict.shape}")
    sample, plus, minus = against_others(chosen, T)
    bound, query = strict[sample].astype(np.float64), np.zeros(len(sample), dtype=np.int64)
    problem = MarginProblem.of(keys.reshape(n * T, d), [[1.0]], plus, minus, query, bound)
    return solve(problem, title="prompt SVM", reference=REFERENCE, **options)


def classifier_svm(x: Any, labels: Any, **options: Any) -> MarginSolution:
    """The shortest v with Y_i v'x_i >= 1: the hard-margin classifier through the origin.

    x [n d], labels [n] +-1; W = v as a column [d 1].  Raises DomainError for other labels.

    >>> classifier_svm([[2.0, 0.0], [0.0, -1.0]], [1, -1]).W[:, 0]
    array([0.5, 1. ])
    """
    x = real(x, "x", 2)
    y = real(labels, "labels", 1)
    if y.shape != (len(x),):
        raise ShapeError(f"`labels` must be [n] = [{len(x)}]; got {list(y.shape)}")
    if not np.all(np.abs(y) == 1.0):
        raise DomainError("`labels` must be +1 or -1")
    n = len(x)
    keys = np.vstack([x, np.zeros((1, x.shape[1]))])  # the last one is the zero vector
    plus, minus = np.where(y > 0, [np.arange(n), np.full(n, n)], [np.full(n, n), np.arange(n)])
    problem = MarginProblem.of(keys, [[1.0]], plus, minus, np.zeros(n, dtype=np.int64))
    return solve(problem, title="classifier SVM", reference="cortes1995, hard margin", **options)


@dataclass(frozen=True, eq=False)
class JointPrompt:
    """Head and prompt in the limit of joint training.

    v, p          solutions with W [d 1]
    support       [n] bool, samples that are support vectors of v: strict constraints for p
    label_margin  1/|v|
    """

    v: MarginSolution
    p: MarginSolution
    support: Array

    @property
    def label_margin(self) -> float:
        """1/|v|, the margin of the labels."""
        return self.v.margin

    def check(self) -> bool:
        """Recompute both certificates; True, or CertificateError."""
        return self.v.check() and self.p.check()

    def __repr__(self) -> str:
        used = f"{int(self.support.sum())} of {len(self.support)} samples strict for the prompt"
        return f"Joint head and prompt: {used}\n{self.v!r}\n{self.p!r}"


def joint_prompt_svm(X: Any, labels: Any, optimal: Any, keys: Any = None) -> JointPrompt:
    """Limit directions of head v and prompt p when both are trained.

    X [n T d] tokens, labels [n] +-1, optimal [n] int, keys [n T d'] (default X).  Raises
    DomainError if the selected tokens are not linearly separable by their labels, or if the gap of
    the head leaves open which samples support it (a row is active up to 1e-6, or proved not to be).
    Source: tarzanagh2023b, joint regularisation path.

    >>> X = [[[0, 0], [1, 1]], [[0, 0], [1, -1]], [[0, 0], [0.5, 1.5]]]
    >>> joint = joint_prompt_svm(X, [1, -1, 1], [1, 1, 1])
    >>> bool(np.allclose(joint.p.W[:, 0], [1.0, 0.0], atol=1e-12)), joint.support
    (True, array([ True,  True, False]))
    """
    X = real(X, "X", 3)
    n, T, _ = X.shape
    chosen = selection(optimal, n, T)
    v = classifier_svm(X[np.arange(n), chosen], labels)
    if v.W is None or v.slack is None:
        raise DomainError(
            "joint_prompt_svm: no head separates the selected tokens by their labels, so the "
            f"classifier has no margin ({v.upper:.3g} at most).  Choose other tokens."
        )
    strict = v.slack <= ACTIVE["frobenius"]
    unclear = np.flatnonzero(~(strict | inactive(v, v.W)))
    if len(unclear):
        raise DomainError(
            f"joint_prompt_svm: the gap {v.gap:.1e} of the head leaves open whether sample "
            f"{unclear[0]} is a support vector, so whether its constraints are strict for the "
            "prompt is not known.  Likely cause: tokens of very different sizes, or a nearly tied "
            "sample.  Call classifier_svm and prompt_svm(strict=...) with your own choice."
        )
    p = prompt_svm(X if keys is None else keys, chosen, strict=strict)
    return JointPrompt(v, p, strict)
