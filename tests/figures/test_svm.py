"""The attention-SVM figures: what they claim."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.core.errors import DomainError
from dsf.figures.svm import mmts_joint, mmts_losses, mmts_single, rank
from dsf.solvers.dynamics import nonlinear_head as head


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_gradient_of_the_nonlinear_head(seed):
    """Against central differences in a random direction, for several runs at once."""
    data = head.draw(seed, 4, n=3, T=4, d=5)
    W, E = np.random.default_rng(seed).standard_normal((2, 4, 5, 5))
    step = 1e-6
    slope = (head.loss(W + step * E, data) - head.loss(W - step * E, data)) / (2 * step)
    found = np.sum(head.gradient(W, data) * E, axis=(1, 2))
    assert np.allclose(found, slope, rtol=1e-4, atol=1e-8)  # relu has kinks; a step may meet one


def test_the_gradient_does_not_cancel_where_one_token_has_all_attention():
    """The naive form s (value - s'value) rounds to noise of 1e-17 there; exact is e^-margin."""
    data = head.draw(0, 1, n=2, T=3, d=4)
    W = 200.0 * np.random.default_rng(0).standard_normal((1, 4, 4))
    a = head.log_attention(W, data.X, data.z)
    second = np.sort(a, axis=-1)[..., -2].max()
    assert second < -40
    size = np.linalg.norm(head.gradient(W, data))
    assert 0 < size < 10 * np.exp(second)


def test_descent_of_the_nonlinear_head_records_and_refuses():
    data = head.draw(0, 2, n=3, T=4, d=5)
    W0 = np.zeros((2, 5, 5))
    W = head.descend(W0, data, record=(0, 1))
    assert np.array_equal(W[:, 0], W0)
    assert np.allclose(np.linalg.norm(W[:, 1], axis=(1, 2)), 0.1)
    for wrong in ({"eta": 0.0}, {"record": (2, 1)}, {"record": ()}):
        with pytest.raises(DomainError, match="increasing"):
            head.descend(W0, data, **wrong)


@pytest.mark.solver
def test_the_loose_solver_counts_noise():
    rows = rank.one(n=10, T=5, d=10, trials=2, seed=0)
    assert all(r["loose"] > r["proved"] and r["gap"] < 1e-6 for r in rows)
    lost = rank.one(n=20, T=5, d=2, trials=2, seed=0)
    assert all(r["separable"] is False and "proved" not in r for r in lost)


def test_a_missing_solution_has_rank_one_in_numpy():
    """Why the published curves start at 1 where draws are not separable."""
    assert np.linalg.matrix_rank(None) == 1


def test_starts_of_the_single_prompt():
    ends = {c: mmts_single.one("local", c, 1000)[-1]["token"] for c in (1.0, -1.5)}
    assert ends == {1.0: 0, -1.5: 1}
    assert mmts_single.one("global", -1.5, 1000)[-1]["token"] == 0


@pytest.mark.parametrize(("case", "p"), [("tight", (4 / 3, 1 / 3)), ("relaxed", (1.0, 0.0))])
def test_joint_limits(case, p):
    last = {r["who"]: r for r in mmts_joint.one(case, 1000)[-2:]}
    assert np.allclose([last["p"]["limit x"], last["p"]["limit y"]], p, atol=1e-9)
    assert np.allclose([last["v"]["limit x"], last["v"]["limit y"]], (0.0, 1.0), atol=1e-9)
    assert max(r["degrees"] for r in last.values()) < 0.5


def test_equal_scores_give_a_straight_path_under_both_losses():
    for loss in mmts_losses.LOSSES:
        assert max(abs(r["y"]) for r in mmts_losses.one(loss, 1, 100)) < 1e-12
