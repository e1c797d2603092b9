"""Graph-SVM on a worked example with a closed form."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.solvers import graph_finite, graph_svm, priority_graph
from dsf.theory_tests import judge

statement = (
    "Four one-hot tokens, context (0, 1, 2, 3), labels 0 (three of four) and 1: tokens 0 and 1 "
    "form one component above 2 and 3; W_svm e_3 = (1/2, 1/2, -1/2, -1/2), norm 1, and "
    "W_fin e_3 = (log 3 / 2)(1, -1, 0, 0)."
)
reference = "li2024, Graph-SVM; the example is derived"
falsified_by = "gradient descent whose within-component gap tends to anything but log 3"

CONTEXTS, LABELS = [[0, 1, 2, 3]] * 4, [0, 0, 0, 1]


def claim(scale: float = 1.0) -> list:
    """Both parts against the closed form; embeddings `scale` times one-hot give W/scale^2."""
    E = scale * np.eye(4)
    s = graph_svm(E, CONTEXTS, LABELS)
    fin = graph_finite(E, CONTEXTS, LABELS)
    e = np.eye(4)[3]
    direction = np.outer([0.5, 0.5, -0.5, -0.5], e) / scale**2
    finite = np.outer([1.0, -1.0, 0.0, 0.0], e) * np.log(3.0) / 2.0 / scale**2
    return [
        (s.W, direction, 1e-12 / scale**2),
        (s.value, 1.0 / scale**2, 1e-12 / scale**2),
        (fin, finite, 1e-11 / scale**2),
        (float(np.sum(fin * s.W)), 0.0, 1e-12 / scale**4),
        s.certificate,
    ]


def test_closed_form():
    assert judge(claim()).holds and judge(claim(10.0)).holds


def test_components_and_order():
    graph = priority_graph(4, CONTEXTS, LABELS)
    assert graph.components[3].tolist() == [0, 0, 1, 2]
    assert np.argwhere(graph.above[3]).tolist() == [[0, 1], [0, 2]]
    assert (graph.components[:3] == -1).all()


def test_gradient_descent_goes_there():
    """w = W e_3 under the log-loss with step 1/2: gap log 3 inside, the rest diverges.

    Half gaps 0.550660 and 0.549373 after 1000 and 20 000 steps, sizes 6.06 and 9.07: the growth is
    logarithmic.
    """
    target, w = np.array([0.75, 0.25, 0.0, 0.0]), np.zeros(4)
    svm, found = np.array([0.5, 0.5, -0.5, -0.5]), []
    for step in range(1, 20_001):
        s = np.exp(w - np.logaddexp.reduce(w))
        w -= 0.5 * (s - target)
        if step in (1000, 20_000):
            rest = w - (w[0] - w[1]) / 2.0 * np.array([1.0, -1.0, 0.0, 0.0])
            found.append(((w[0] - w[1]) / 2.0, np.linalg.norm(rest)))
            assert rest @ svm / np.linalg.norm(rest) > 1.0 - 1e-9
    assert np.allclose(found, [(0.550660, 6.06), (0.549373, 9.07)], atol=[0.51e-6, 0.006])
    growth = (found[1][1] - found[0][1]) / np.log(20.0)
    assert abs(growth - 1.0) < 0.01


def random_corpus(seed: int, K: int = 6, samples: int = 12) -> tuple[list[list[int]], list[int]]:
    """Contexts of four tokens, the last one of three; labels are drawn from the contexts.

    Contexts that share their last token contradict each other: components of several tokens arise.
    """
    rng = np.random.default_rng(seed)
    contexts = [[*rng.integers(0, K, 3).tolist(), int(rng.integers(0, 3))] for _ in range(samples)]
    return contexts, [c[int(rng.integers(0, 4))] for c in contexts]


def head(W: np.ndarray, E: np.ndarray, contexts: list, labels: list) -> tuple[float, np.ndarray]:
    """Log-loss -log P(y) of one attention head that copies tokens, and its gradient.

    P(y) = sum of softmax(E_c W e_k) over the places of y in the context c, k its last token.
    """
    value, G = 0.0, np.zeros_like(W)
    for c, y in zip(contexts, labels, strict=True):
        X, q = E[c], E[c[-1]]
        a = X @ W @ q
        a -= np.logaddexp.reduce(a)
        here = np.array(c) == y
        right = np.logaddexp.reduce(a[here])
        value -= right
        toward = np.exp(a) - np.where(here, np.exp(a - right), 0.0)
        G += np.outer(X.T @ toward, q)
    return value, G


def test_random_corpora_end_to_end():
    """Descent on the log-loss: the part inside components tends to W_fin, the rest to W_svm."""
    for seed in range(3):
        contexts, labels = random_corpus(seed)
        E = np.eye(6) + 0.2 * np.random.default_rng(seed).standard_normal((6, 6))
        inside = basis(E, contexts, labels)
        fin, s = graph_finite(E, contexts, labels), graph_svm(E, contexts, labels)
        w = np.zeros(36)
        # plain steps inside; outside, where the gradient dies out, steps of one length
        for _ in range(2000):
            G = head(w.reshape(6, 6), E, contexts, labels)[1].ravel() / len(labels)
            flat = inside @ (inside.T @ G)
            w -= 2.0 * flat + 0.01 * s.value * (G - flat) / np.linalg.norm(G - flat)
        part = inside @ (inside.T @ w)
        rest = w - part
        assert np.linalg.norm(part - fin.ravel()) < 1e-6 < 0.1 < np.linalg.norm(fin)
        assert rest @ s.W.ravel() / np.linalg.norm(rest) / s.value > 0.995


def basis(E: np.ndarray, contexts: list, labels: list) -> np.ndarray:
    """Orthonormal columns that span S_fin."""
    graph = priority_graph(len(E), contexts, labels)
    columns = [np.zeros(E.shape[1] ** 2)]
    for k, c in enumerate(graph.components):
        for a, b in np.argwhere((c[:, None] == c) & (c >= 0)[:, None]):
            columns.append(np.outer(E[a] - E[b], E[k]).ravel())
    U, S, _ = np.linalg.svd(np.array(columns).T, full_matrices=False)
    return U[:, S > 1e-10]


@given(st.integers(0, 10**6))
def test_the_log_loss_is_convex(seed):
    """Along a random segment, for contexts without repeated labels."""
    contexts, labels = random_corpus(seed)
    keep = [k for k, (c, y) in enumerate(zip(contexts, labels, strict=True)) if c.count(y) == 1]
    contexts, labels = [contexts[k] for k in keep], [labels[k] for k in keep]
    rng = np.random.default_rng(seed)
    E, A, B = rng.standard_normal((3, 6, 6))
    ends = [head(W, E, contexts, labels)[0] for W in (A, B)]
    middle = head((A + B) / 2, E, contexts, labels)[0]
    assert middle <= np.mean(ends) * (1 + 1e-12) + 1e-12
