"""Far out, training stays with a locally optimal selection, and leaves any other."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import attention_svm
from dsf.solvers.descent import descend
from dsf.solvers.instances import attention, named
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


def test_sixty_random_starts():
    i = named("A")
    W = _train(i, 3.0 * np.random.default_rng(0).standard_normal((60, 2, 2)), 4000)
    ends = [tuple(attention(w, i.X, i.z).argmax(1).tolist()) for w in W]
    assert set(ends) == {(1, 2), (2, 2)}
    off = [
        1 - np.sum(w * _direction(i, a)) / np.linalg.norm(w) for w, a in zip(W, ends, strict=True)
    ]
    assert max(off) < 5e-4
    assert min(ends.count((1, 2)), ends.count((2, 2))) >= 15  # neither is an accident
