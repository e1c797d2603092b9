"""Why training never stops: the gradient points away from the max-margin solution everywhere."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from dsf.solvers import attention_svm
from dsf.solvers.svm.instances import attention, draw, equal_scores, gradient
from dsf.theory_tests import judge

statement = (
    "For every W, with W_mm the attention-SVM solution and a = X W_mm z its scores: if the "
    "non-optimal tokens tie at g, <grad L, W_mm> = (1/n) sum l'(m_i) (g_opt - g) s_opt sum_t s_t "
    "(a_opt - a_t) < 0; if they all are support vectors, <grad L, W_mm> = (1/n) sum l'(m_i) s_opt "
    "(g_opt - s'g) < 0.  Hence L has no finite stationary point."
)
reference = "tarzanagh2023, global convergence of gradient descent, assumptions B.1 and B.2"
falsified_by = "a W at which either identity fails, or where <grad L, W_mm> >= 0"


def claim(case: str = "equal scores", seed: int = 0, log_norm: float = 0.0) -> list:
    """Both sides of the identity at 20 random W of norm 10^log_norm, and the largest cosine."""
    tied = case == "equal scores"
    i, W_mm = _instance(seed, (4, 5, 6) if tied else (3, 3, 40), every_token_active=not tied)
    scores = equal_scores(i, float(i.scores.min()) - 0.1) if tied else i.scores
    rows, best = np.arange(len(i.X)), i.optimal
    a = np.einsum("itd,de,ie->it", i.X, W_mm, i.z)
    rng = np.random.default_rng(seed)
    found, predicted, cosines = [], [], []
    for _ in range(20):
        W = rng.standard_normal(W_mm.shape)
        W *= 10.0**log_norm / np.linalg.norm(W)
        s = attention(W, i.X, i.z)
        m = np.sum(s * scores, axis=1)
        slope, s_best = -1.0 / (1.0 + np.exp(m)), s[rows, best]
        if tied:
            gain = scores.max(1) - scores.min(1)
            pull = s_best * gain * np.sum(s * (a[rows, best][:, None] - a), axis=1)
        else:
            pull = s_best * (scores.max(1) - m)
        G = gradient(W, i.X, i.z, scores)
        size = np.linalg.norm(G) * np.linalg.norm(W_mm)
        found.append(np.sum(G * W_mm) / size)
        predicted.append(np.mean(slope * pull) / size)
        cosines.append(found[-1])
    return [
        (np.array(found), np.array(predicted), 1e-9),
        (max(*cosines, -1e-3), -1e-3, 0.0),  # strictly negative, by more than rounding
    ]


def _instance(seed: int, shape: tuple[int, int, int], every_token_active: bool):
    """The first separable draw from `seed` on, with every margin equal to 1 if asked for."""
    while True:
        i = draw(seed, *shape)
        s = attention_svm(i.X, i.z, i.optimal)
        if s.W is not None and (not every_token_active or s.slack.max() < 1e-10):
            return i, s.W
        seed += 1


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(-2.0, 1.2))
def test_equal_scores(seed, log_norm):
    judgement = judge(claim("equal scores", seed, log_norm))
    assert judgement.holds, "\n".join(judgement.lines)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(-2.0, 1.2))
def test_every_token_a_support_vector(seed, log_norm):
    judgement = judge(claim("all support vectors", seed, log_norm))
    assert judgement.holds, "\n".join(judgement.lines)


def test_neither_assumption_is_idle():
    """With general scores and inactive tokens the inner product is positive at some W."""
    i, W_mm = _instance(0, (4, 5, 6), every_token_active=False)
    rng = np.random.default_rng(0)
    signs = [
        np.sum(gradient(3 * rng.standard_normal((6, 6)), i.X, i.z, i.scores) * W_mm) > 0
        for _ in range(500)
    ]
    assert any(signs)
