"""Graph-SVM: the token priorities that next-token prediction teaches one attention head.

Vocabulary e_1..e_K, contexts x_1..x_T with last token k = x_T and label y.  The graph G^(k) has an
edge y -> x for every token x of every context that ends in k.  i ~ j: same strongly connected
component; i => j: i reaches j, in different components.

    direction    min |W|_F   s.t.   (e_i - e_j)' W e_k = 0   (i ~ j),   >= 1   (i => j),   all k
    finite part  argmin of the log-loss inside components, over span{(e_i - e_j) e_k' : i ~ j}

Source: li2024 (2403.08081), mechanics of next-token prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import (
    DomainError,
    DTypeError,
    EmptyProblemError,
    IllConditionedError,
    ShapeError,
    TooLargeError,
)
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.equalities import independent
from dsf.solvers.svm.instances import log_softmax
from dsf.solvers.svm.problem import Array, MarginProblem, array, real
from dsf.solvers.svm.solution import MarginSolution

LARGEST = 1 << 31  # bytes of the edges [K K K]
SPANNED = 1e-10  # singular values up to this times the largest are rounding: no new direction
SHORTEST = 1e-10  # step of Newton's method at which halving ends
STEPS = 100  # of Newton's method
STATIONARY = 1e-8  # what its gradient may be at the end, relative to its largest possible size


@dataclass(frozen=True, eq=False)
class PriorityGraph:
    """One token-priority graph per last token.

    components [K K] int: components[k, x] is the component of token x in G^(k), -1 if absent
    above [K] of bool [c c]: above[k][a, b] if component a has a path to component b != a
    """

    components: Array
    above: tuple[Array, ...]


def priority_graph(
    K: int, contexts: Sequence[Sequence[int]], labels: Sequence[int]
) -> PriorityGraph:
    """The graphs of a data set: contexts of token indices in [0, K), one label each.

    Raises ShapeError, DTypeError (a label that is no integer), DomainError (an index outside the
    vocabulary, a label not in its context).

    >>> priority_graph(3, [[0, 1, 2], [1, 0, 2]], [0, 1]).components[2]
    array([0, 0, 1])
    """
    from scipy.sparse.csgraph import connected_components

    if not isinstance(K, (int, np.integer)) or K < 0:
        raise DomainError(f"K must be the size of the vocabulary, an integer >= 0; got {K!r}")
    if K**3 > LARGEST:
        raise TooLargeError(
            f"the graphs of K = {K} tokens take K^3 = {K**3:.2g} bytes, more than {LARGEST}.  "
            "Number the tokens that occur from 0 and leave the others out."
        )
    if not all(hasattr(x, "__len__") for x in (contexts, labels)):
        raise ShapeError("contexts must be a list of lists of token indices, labels a list")
    if len(contexts) != len(labels):
        raise ShapeError(f"{len(contexts)} contexts need as many labels; got {len(labels)}")
    edges = np.zeros((K, K, K), dtype=bool)
    for i, (context, y) in enumerate(zip(contexts, array(labels, "labels"), strict=True)):
        tokens = _tokens(K, i, context, y)
        edges[tokens[-1], y, tokens] = True
    components, above = np.full((K, K), -1), []
    for k in range(K):
        nodes = np.flatnonzero(edges[k].any(axis=0) | edges[k].any(axis=1))
        count, found = connected_components(
            edges[k][np.ix_(nodes, nodes)], directed=True, connection="strong"
        )
        # numbered by first occurrence, so that the answer does not depend on the search order
        _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first)) if count else first
        components[k, nodes] = rank[inverse]
        reach = np.zeros((count, count), dtype=bool)
        for a, b in np.argwhere(edges[k]):
            reach[components[k, a], components[k, b]] = True
        for middle in range(count):
            reach |= reach[:, middle : middle + 1] & reach[middle : middle + 1]
        np.fill_diagonal(reach, False)
        above.append(reach)
    return PriorityGraph(components, tuple(above))


def _tokens(K: int, i: int, context: Any, label: Any) -> Array:
    """Context i as an array of token indices, checked together with its label."""
    tokens = array(context, f"contexts[{i}]")
    if tokens.ndim != 1 or tokens.size == 0 or tokens.dtype.kind not in "iu":
        raise ShapeError(f"context {i} must be a non-empty list of token indices")
    if np.any((tokens < 0) | (tokens >= K)):
        raise DomainError(f"context {i} holds a token outside the vocabulary of {K}")
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise DTypeError(f"labels[{i}] must be a token index (an integer); got {label!r}")
    if label not in tokens:
        raise DomainError(
            f"context {i}: its label {label} does not occur in it; attention cannot copy it"
        )
    return tokens


def graph_problem(E: Any, graph: PriorityGraph) -> MarginProblem:
    """The rows of Graph-SVM: one token stands for its component, the equalities carry the rest."""
    E = real(E, "E", 2)
    K = len(E)
    if graph.components.shape != (K, K):
        raise ShapeError(f"`E` [{K} d] and the graph of {len(graph.components)} tokens do not fit")
    rows: list[tuple[int, int, int, bool]] = []
    for k in range(K):
        components = graph.components[k]
        first = [int(np.flatnonzero(components == c)[0]) for c in range(components.max() + 1)]
        for x in np.flatnonzero(components >= 0):
            anchor = first[components[x]]
            if x != anchor:
                rows.append((anchor, int(x), k, True))
        rows += [(first[a], first[b], k, False) for a, b in np.argwhere(graph.above[k])]
    if all(equal for *_, equal in rows):
        raise EmptyProblemError(
            "no token has priority over another (every graph is one component per last token), so "
            "W does not diverge in any direction; ask `graph_finite` for the finite part"
        )
    plus, minus, query, equality = (np.array(column) for column in zip(*rows, strict=True))
    return independent(
        MarginProblem.of(E, E, plus, minus, query, np.where(equality, 0.0, 1.0), equality)
    )


def graph_svm(E: Any, contexts: Any, labels: Any, **options: Any) -> MarginSolution:
    """The direction in which W diverges when next-token prediction is trained.

    E [K d] embeddings, contexts: lists of token indices (the last one is the query), labels [N].
    W [d d].  Raises ShapeError, DomainError, EmptyProblemError; certificates as `attention_svm`.

    >>> graph_svm(np.eye(4), [[0, 1, 2, 3]] * 4, [0, 0, 0, 1]).W[:, 3]
    array([ 0.5,  0.5, -0.5, -0.5])
    """
    E = real(E, "E", 2)
    graph = priority_graph(len(E), contexts, labels)
    return solve(
        graph_problem(E, graph),
        title="Graph-SVM",
        reference="li2024, (Graph-SVM)",
        **options,
    )


def graph_finite(E: Any, contexts: Any, labels: Any, tol: float = 1e-13) -> Array:
    """The finite part W^fin [d d]: the minimiser of the log-loss inside components.

        min over W in span{(e_i - e_j) e_k' : i ~ j} of  sum_samples -log softmax_y(E_C W e_k)

    where C holds the tokens of the context in the component of its label, with multiplicity.
    Newton's method; stops at a gradient of size `tol` per sample, or after 100 steps.  Nothing is
    certified: the relative gradient of the result is below 1e-8, else IllConditionedError gives
    it.  Raises as `graph_svm`; DomainError where W leaves the range of float64.

    >>> W = graph_finite(np.eye(4), [[0, 1, 2, 3]] * 4, [0, 0, 0, 1])
    >>> bool(abs(W[0, 3] - np.log(3) / 2) < 1e-12 and abs(W[1, 3] + np.log(3) / 2) < 1e-12)
    True
    """
    E = real(E, "E", 2)
    graph = priority_graph(len(E), contexts, labels)
    exponent = int(np.frexp(np.abs(E).max(initial=0.0))[1])
    E = np.ldexp(E, -exponent)  # W 2^(2 exponent) belongs to these
    samples, spanning = _inside(E, graph, contexts, labels)
    if not spanning:
        return np.zeros((E.shape[1], E.shape[1]))
    U, S, _ = np.linalg.svd(np.stack([a.ravel() for a in spanning], axis=1), full_matrices=False)
    basis = U[:, S > SPANNED * S[0]]
    # scores of the tokens of each sample as linear functions of the coordinates
    features = [
        (np.stack([np.outer(E[x], E[k]).ravel() for x in C]) @ basis, m, j)
        for C, m, j, k in samples
    ]
    theta = np.zeros(basis.shape[1])
    for _ in range(STEPS):
        value, gradient, hessian = _log_loss(features, theta)
        if np.linalg.norm(gradient) <= tol * len(features):
            break
        step = np.linalg.lstsq(hessian, -gradient, rcond=None)[0]
        length = 1.0
        while length > SHORTEST and _log_loss(features, theta + length * step)[0] > value:
            length /= 2.0
        theta = theta + length * step
    residual = float(np.linalg.norm(_log_loss(features, theta)[1]))
    # the gradient of one sample is at most twice its longest feature
    unit = sum(float(np.linalg.norm(F, axis=1).max()) for F, _, _ in features)
    if not residual <= STATIONARY * unit:
        raise IllConditionedError(
            f"graph_finite: after {STEPS} Newton steps the gradient is {residual:.1e}, "
            f"{residual / unit:.1e} of its largest possible size, and {STATIONARY:.0e} is asked "
            "for.  Likely cause: embeddings of one component that nearly agree, or differ by many "
            "orders of magnitude in size.  Merge such tokens, or rescale E."
        )
    with np.errstate(over="ignore", under="ignore"):
        W = np.ldexp((basis @ theta).reshape(E.shape[1], E.shape[1]), -2 * exponent)
    if not np.all(np.isfinite(W)) or (theta.any() and not W.any()):
        raise DomainError(
            "graph_finite: W leaves the range of float64; multiply E by a factor c, W by c^2"
        )
    return W


def _inside(
    E: Array, graph: PriorityGraph, contexts: Any, labels: Any
) -> tuple[list[Any], list[Array]]:
    """Samples (tokens of the component, multiplicities, place of the label, k); span of S_fin."""
    samples, spanning = [], []
    for context, y in zip(contexts, labels, strict=True):
        k = int(context[-1])
        tokens, counts = np.unique(np.asarray(context), return_counts=True)
        same = graph.components[k, tokens] == graph.components[k, y]
        tokens, counts = tokens[same], counts[same]
        samples.append((tokens, counts, int(np.flatnonzero(tokens == y)[0]), k))
    for k in range(len(E)):
        for c in range(graph.components[k].max() + 1):
            members = np.flatnonzero(graph.components[k] == c)
            spanning += [np.outer(E[members[0]] - E[x], E[k]) for x in members[1:]]
    return samples, spanning


def _log_loss(features: list[Any], theta: Array) -> tuple[float, Array, Array]:
    value, n = 0.0, len(theta)
    gradient, hessian = np.zeros(n), np.zeros((n, n))
    for F, counts, label in features:
        a = log_softmax(F @ theta + np.log(counts))
        s = np.exp(a)
        value -= float(a[label])
        mean = s @ F
        gradient += mean - F[label]
        hessian += (F.T * s) @ F - np.outer(mean, mean)
    return value, gradient, hessian
