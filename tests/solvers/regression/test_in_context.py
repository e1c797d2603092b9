"""Attention against gradient steps: both models against slow twins, the measures, training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.mechanisms.attention.softmax import Softmax
from dsf.solvers.regression import in_context
from dsf.solvers.regression.formulas import point
from dsf.solvers.regression.in_context import (
    Record,
    Tasks,
    attended,
    closeness,
    descent,
    draw,
    layer,
    loss_of,
    predictions,
    prompt,
    train,
)

SIZES = (st.integers(1, 3), st.integers(2, 7), st.integers(1, 4), st.integers(0, 10**6))


def exact(count: int, n: int, d: int, seed: int) -> Tasks:
    """Tasks in float64."""
    return Tasks(*(x.astype(np.float64) for x in draw(np.random.default_rng(seed), count, n, d)))


@given(*SIZES)
def test_steps_are_those_along_the_gradient(count, n, d, seed):
    tasks, eta = exact(count, n, d, seed), np.random.default_rng(seed).random(3)
    found = descent(tasks, eta)
    for A, b, x in zip(*tasks, found, strict=True):
        y = np.zeros(d)
        for step in eta:
            y = y - step * n * d * point(A, b, np.zeros(n), y).gradient
        np.testing.assert_allclose(x, y, atol=1e-12)
        np.testing.assert_allclose(predictions(A[None], x[None])[0], softmax(A @ x), atol=1e-15)


@given(*SIZES, st.integers(1, 3))
def test_the_query_row_is_that_of_the_whole_layer(count, n, d, seed, heads):
    tasks, mech = exact(count, n, d, seed), layer(d, heads, seed)
    whole = mech(prompt(tasks))[:, -1].reshape(count, heads, d).sum(1)
    np.testing.assert_allclose(attended(mech, tasks), whole, atol=1e-12)


def one_head(d: int, s: float, v: float) -> Softmax:
    """Logits s n b_i, values v a_i."""
    Wk, Wq, Wv = np.zeros((1, d + 2, 1)), np.zeros((1, d + 2, 1)), np.zeros((1, d + 2, d))
    Wk[0, d], Wq[0, d + 1], Wv[0, :d] = 1, s, v * np.eye(d)
    return Softmax(Wk=Wk, Wq=Wq, Wv=Wv, include_self=False)


@settings(max_examples=30)
@given(*SIZES)
def test_a_head_with_small_logits_is_a_step_and_the_mean_of_the_rows(count, n, d, seed):
    """v (mean + s A'(b - 1/n)): the gap is of the order s^2; rows of mean zero leave the step."""
    tasks = exact(count, n, d, seed)
    mean, step = tasks.A.mean(1), descent(tasks, [1 / d])
    gaps = [np.linalg.norm(attended(one_head(d, s, 1.0), tasks) - mean - s * step)
            for s in (1e-2, 1e-3)]  # fmt: skip
    assert gaps[1] < 0.011 * gaps[0] * (1 + 0.05 * n) + 1e-15
    centred = Tasks(tasks.A - mean[:, None], tasks.b)
    eta = [0.3, 0.2]
    np.testing.assert_allclose(descent(centred, eta), descent(tasks, eta), atol=1e-12)
    x = np.random.default_rng(seed).standard_normal((count, d))
    np.testing.assert_allclose(predictions(centred.A, x), predictions(tasks.A, x), atol=1e-12)
    np.testing.assert_allclose(
        attended(one_head(d, 1e-6, 1e6), centred), descent(centred, [1 / d]), atol=1e-4 * n
    )


def test_the_derivatives_are_those_of_differences():
    tasks, mech, e = exact(3, 5, 2, 0), layer(2, 2, 0), 1e-6
    record = Record(0, {2: np.array([0.3, 0.4])}, mech)
    found = closeness(record, tasks, 2)

    def apart(A, b):
        f, g = attended(mech, Tasks(A, b)), descent(Tasks(A, b), record.eta[2])
        return predictions(A, f)[:, 0] - predictions(A, g)[:, 0]

    by_b, by_A = np.zeros((3, 5)), np.zeros((3, 5, 2))
    for i in np.ndindex(5):
        h = np.zeros((3, 5))
        h[:, *i] = e
        by_b[:, *i] = (apart(tasks.A, tasks.b + h) - apart(tasks.A, tasks.b - h)) / (2 * e)
    for i in np.ndindex(5, 2):
        h = np.zeros((3, 5, 2))
        h[:, *i] = e
        by_A[:, *i] = (apart(tasks.A + h, tasks.b) - apart(tasks.A - h, tasks.b)) / (2 * e)
    assert found.targets == pytest.approx(np.linalg.norm(by_b, axis=1).mean(), rel=1e-6)
    assert found.rows == pytest.approx(np.linalg.norm(by_A.reshape(3, -1), axis=1).mean(), rel=1e-6)
    f = predictions(tasks.A, attended(mech, tasks))
    assert found.attention == pytest.approx(np.mean(np.sum((f - tasks.b) ** 2, 1)) / 2)
    assert found.nothing == pytest.approx(float(loss_of(np.full((3, 5), 0.2), tasks.b)))


def test_models_that_agree_are_close():
    """A head that is one gradient step: rows of mean zero, small logits."""
    tasks = exact(4, 6, 3, 1)
    centred = Tasks(tasks.A - tasks.A.mean(1, keepdims=True), tasks.b)
    record = Record(0, {1: np.array([0.1])}, one_head(3, 1e-4, 0.1 * 3 / 1e-4))
    found = closeness(record, centred)
    assert found.predictions < 1e-3 * found.moved and found.targets_cosine > 0.999
    assert found.attention == pytest.approx(found.descent, rel=1e-2)


def test_training():
    """Both losses fall, the same again from the same seed, other weights from another."""
    made = [train(6, 3, 2, 80, 40, seed=s, gradient_steps=(1, 2), batch=32) for s in (0, 0, 1)]
    assert [r.step for r in made[0]] == [0, 40, 80]
    np.testing.assert_array_equal(made[0][-1].mech.Wq, made[1][-1].mech.Wq)
    assert not np.array_equal(made[0][-1].mech.Wq, made[2][-1].mech.Wq)
    new = exact(256, 6, 3, 9)
    first, last = (closeness(r, new) for r in made[0][:: len(made[0]) - 1])
    assert last.attention < first.attention and last.descent <= first.descent + 1e-4
    assert made[0][0].eta[2].tolist() == pytest.approx([in_context.START] * 2)
