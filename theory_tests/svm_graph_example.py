"""Graph-SVM on a worked example with a closed form."""

from __future__ import annotations

import numpy as np

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
    """w = W e_3 under the log-loss with step 1/2: gap log 3 inside, the rest diverges."""
    target, w = np.array([0.75, 0.25, 0.0, 0.0]), np.zeros(4)
    for _ in range(20_000):
        s = np.exp(w - np.logaddexp.reduce(w))
        w -= 0.5 * (s - target)
    assert abs((w[0] - w[1]) / 2.0 - np.log(3.0) / 2.0) < 1e-4
    rest = w - (w[0] - w[1]) / 2.0 * np.array([1.0, -1.0, 0.0, 0.0])
    svm = np.array([0.5, 0.5, -0.5, -0.5])
    assert rest @ svm / np.linalg.norm(rest) > 1.0 - 1e-9
