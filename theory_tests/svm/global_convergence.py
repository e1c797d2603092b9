"""Equal scores: gradient descent reaches the direction of the global solution."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import attention_svm
from dsf.solvers.dynamics.descent import descend
from dsf.solvers.svm.instances import draw, equal_scores
from dsf.theory_tests import judge

statement = (
    "If the non-optimal tokens of every sample have equal scores, normalised gradient descent from "
    "zero or a small start has |W| -> inf and W/|W| -> W_mm/|W_mm|.  Not from every start: if, far "
    "out, the margin of one sample is below minus that of the others, it stays negative."
)
reference = (
    "tarzanagh2023, global convergence of gradient descent, assumptions B.1 (a test) and B.2; the "
    "limit is ours"
)
falsified_by = "an instance with equal scores, started at zero, whose correlation stays below 1"


def claim(start: float = 0.0, instances: int = 10, steps: int = 5000) -> list:
    """Correlations with W_mm of `instances` runs from N(0, start^2), at steps/5 and at the end."""
    runs: list = []
    targets: list = []
    seed = 0
    while len(runs) < instances:
        i = draw(seed, 4, 5, 6)
        s = attention_svm(i.X, i.z, i.optimal)
        if s.W is not None:
            runs.append(i)
            targets.append(s.W / np.linalg.norm(s.W))
        seed += 1
    X, z = np.array([i.X for i in runs]), np.array([i.z for i in runs])
    scores = np.array([equal_scores(i, float(i.scores.min()) - 0.1) for i in runs])
    W0 = start * np.random.default_rng(0).standard_normal((instances, 6, 6))
    W = descend(W0, X, z, scores, record=(steps // 5, steps))
    size = np.linalg.norm(W, axis=(2, 3))
    off = 1.0 - np.einsum("srde,sde->sr", W, np.array(targets)) / size
    return [
        (1.0 - off[:, 1], np.ones(instances), 1e-3),
        (np.maximum(off[:, 1] / off[:, 0], 0.2), np.full(instances, 0.2), 0.0),  # still falling
        (np.minimum(size[:, 1] / size[:, 0], 3.0), np.full(instances, 3.0), 0.0),  # growing
    ]


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_from_zero_and_near(start):
    judgement = judge(claim(start))
    assert judgement.holds, "\n".join(judgement.lines)


def test_every_token_a_support_vector():
    """Assumption B.1, general scores: three instances of d = 40 on which every margin is 1."""
    runs: list = []
    targets: list = []
    seed = 0
    while len(runs) < 3:
        i = draw(seed, 3, 3, 40)
        s = attention_svm(i.X, i.z, i.optimal)
        if s.W is not None and s.slack.max() < 1e-10:
            runs.append(i)
            targets.append(s.W / s.value)
        seed += 1
    X, z, scores = (np.array([getattr(i, k) for i in runs]) for k in ("X", "z", "scores"))
    W = descend(np.zeros((3, 40, 40)), X, z, scores, record=(400, 2000))
    size = np.linalg.norm(W, axis=(2, 3))
    off = 1.0 - np.einsum("srde,sde->sr", W, np.array(targets)) / size
    assert off[:, 1].max() < 1e-3 and np.all(off[:, 1] < 0.2 * off[:, 0])
    assert np.all(size[:, 1] > 4 * size[:, 0])


def test_a_far_start_is_never_repaired():
    """Two samples of two tokens, where equal scores hold trivially, and their margins as W grows.

    With A_1 = (1, 0), A_2 = (-2, 1) and W = (R, 0), sample 1 has margin R and pulls along A_1 with
    weight about e^-R; sample 2 has margin -2R and pulls with weight e^-2R.  So W moves along A_1,
    and the integral of the pull of sample 2 is at most of order e^-R: the direction stays A_1,
    although W_mm = (1, 3) selects both best tokens.  Gradient flow has the same path.
    """
    X = np.array([[[1.0, 0.0], [0.0, 0.0]], [[-2.0, 1.0], [0.0, 0.0]]])
    z, scores = np.ones((2, 1)), np.array([[1.0, 0.0], [1.0, 0.0]])
    W_mm = attention_svm(X, z, [0, 0]).W[:, 0]
    assert np.allclose(W_mm, [1.0, 3.0], atol=1e-12)
    starts = np.array([[[0.0], [0.0]], [[20.0], [0.0]]])
    data = [np.broadcast_to(x, (2, *x.shape)) for x in (X, z, scores)]
    W = descend(starts, data[0], data[1], data[2], record=(20_000,))[:, 0, :, 0]
    near, far = W / np.linalg.norm(W, axis=1, keepdims=True)
    assert np.allclose(near, W_mm / np.linalg.norm(W_mm), atol=1e-3)
    assert np.allclose(far, [1.0, 0.0], atol=1e-6)
