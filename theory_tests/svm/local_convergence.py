"""Far from the origin, training keeps a locally optimal selection and leaves any other."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import attention_svm
from dsf.solvers.dynamics.descent import descend, scaled_gradient
from dsf.solvers.svm.instances import attention, named
from dsf.theory_tests import judge

statement = (
    "Gradient descent started far out along the solution of a locally optimal selection keeps its "
    "direction; one that is not locally optimal does not attract.  On instance A: (1, 2) and "
    "(2, 2) stay, (0, 2) ends at (1, 2), and 60 random starts end at (1, 2) or (2, 2) only."
)
reference = "tarzanagh2023, local convergence of gradient descent"
falsified_by = "a run that ends in the direction of a selection that is not locally optimal"

ENDS = {(1, 2): (1, 2), (2, 2): (2, 2), (0, 2): (1, 2)}


def claim(selection: tuple[int, int] = (0, 2), steps: int = 4000) -> list:
    """Starts R W_a/|W_a|, R = 1, 5, 20: the selection reached, and the correlation with it."""
    i = named("A")
    start = _direction(i, selection)
    W = _train(i, np.array([R * start for R in (1.0, 5.0, 20.0)]), steps)
    end = ENDS[selection[0], selection[1]]
    corr = [np.sum(w * _direction(i, end)) / np.linalg.norm(w) for w in W]
    picked = np.array([attention(w, i.X, i.z).argmax(1) for w in W])
    return [
        (picked, np.array([end] * 3), 0.0),
        (np.array(corr), np.ones(3), 1e-4),
    ]


def _direction(i, selection) -> np.ndarray:
    W = attention_svm(i.X, i.z, np.array(selection)).W
    return W / np.linalg.norm(W)


def _train(i, W0: np.ndarray, steps: int) -> np.ndarray:
    data = [np.broadcast_to(x, (len(W0), *x.shape)) for x in (i.X, i.z, i.scores)]
    return descend(W0, data[0], data[1], data[2], record=(steps,))[:, 0]


@pytest.mark.parametrize("selection", ENDS)
def test_three_starts(selection):
    judgement = judge(claim(selection))
    assert judgement.holds, "\n".join(judgement.lines)


@pytest.mark.parametrize(("selection", "sign"), [((1, 2), -1), ((2, 2), -1), ((0, 2), 1)])
def test_the_gradient_inside_the_cone(selection, sign):
    """<grad L, W_a> < 0 for |W| = 10, 100, 1000, corr(W, W_a) >= 0.99: no stationary point.

    For (0, 2) it is positive at some W of every size.
    """
    i = named("A")
    axis = _direction(i, selection)
    rng = np.random.default_rng(0)
    largest = []
    for size in (10.0, 100.0, 1000.0):
        E = rng.standard_normal((200, 2, 2))
        E -= np.sum(E * axis, axis=(1, 2), keepdims=True) * axis
        E /= np.linalg.norm(E, axis=(1, 2), keepdims=True)
        c = rng.uniform(0.99, 1.0, (200, 1, 1))
        W = size * (c * axis + np.sqrt(1 - c**2) * E)
        X, z, scores = (np.broadcast_to(x, (200, *x.shape)) for x in (i.X, i.z, i.scores))
        G, _ = scaled_gradient(W, X, z, scores)
        cosine = np.sum(G * axis, axis=(1, 2)) / np.linalg.norm(G, axis=(1, 2))
        largest.append(cosine.max())
    assert np.all(sign * np.array(largest) > 0.1)


def test_sixty_random_starts():
    i = named("A")
    W = _train(i, 3.0 * np.random.default_rng(0).standard_normal((60, 2, 2)), 4000)
    ends = [tuple(attention(w, i.X, i.z).argmax(1).tolist()) for w in W]
    assert set(ends) == {(1, 2), (2, 2)}
    off = [
        1 - np.sum(w * _direction(i, a)) / np.linalg.norm(w) for w, a in zip(W, ends, strict=True)
    ]
    assert max(off) < 5e-4
    assert min(ends.count((1, 2)), ends.count((2, 2))) >= 15  # both occur often
