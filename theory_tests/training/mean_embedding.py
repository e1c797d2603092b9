"""The expected output over centred queries is 0 whatever the task; the mean state is the task."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import inject
from dsf.solvers.heads.task_embedding import embeddings, frames, output_size, state_size

statement = (
    "The mean head output of linear-attention regression over prompts of one task w is w'E[x_q]: "
    "zero for centred queries, so the embedding does not depend on the task. Over M prompts of N "
    "pairs its mean square is m^2 + ((1 + (d+1)/N)(d + m^2) - m^2)/M with m = |E[x_q]|. The mean "
    "state tends to w, and read by any query it solves the task without demonstrations."
)
reference = "derived; the averaging is that of arXiv 2507.20906, the mean of states is a variant"
falsified_by = "a mean output that depends on w at E[x_q] = 0, or another mean square"


def claim(distance: float = 1.0, d: int = 5, prompts: int = 50, seed: int = 0) -> list:
    """Sizes of mean outputs and states over 1000 tasks against the formulas; the tolerances are
    six standard errors."""
    tasks, mean = frames(d, 1000 // d, seed), np.full(d, distance / d**0.5)
    outputs, states = embeddings(tasks, mean, prompts, seed=seed)
    squares = outputs**2, np.sum(states**2, axis=1)
    theory = output_size(distance, d, prompts) ** 2, state_size(d, prompts) ** 2
    errors = [6 * x.std() / np.sqrt(len(tasks)) for x in squares]
    return [(x.mean(), t, e) for x, t, e in zip(squares, theory, errors, strict=True)]


@pytest.mark.parametrize("distance", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("prompts", [1, 50])
def test_sizes(distance: float, prompts: int) -> None:
    for computed, theory, tolerance in claim(distance, prompts=prompts):
        assert abs(computed - theory) <= tolerance < 0.5 * theory


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_one_task(shift: float) -> None:
    """Within five standard errors of w'E[x_q]: 0 at centred queries."""
    w = np.random.default_rng(7).standard_normal((1, 5))
    prompts, mean = 20_000, np.full(5, shift)
    output, _ = embeddings(w, mean, prompts)
    # mean square of one output, w'E[Sigma_hat (I + mean mean') Sigma_hat] w at N = 10 and d = 5
    size, signal = float(w[0] @ w[0]), float(w[0] @ mean)
    square = (1 + 6 / 10) * size + signal**2 + (size * (mean @ mean) + signal**2) / 10
    error = np.sqrt((square - signal**2) / prompts)
    assert abs(output[0] - signal) < 5 * error
    assert shift == 0 or abs(signal) > 20 * error


def test_the_mean_vanishes_exactly_over_a_symmetric_set() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((10, 4)), rng.standard_normal(4)
    q = rng.standard_normal((50, 4))
    outputs = np.concatenate([q, -q]) @ (x.T @ x) @ w
    assert abs(outputs.mean()) < 1e-13 < np.abs(outputs).mean()


@given(st.integers(0, 99), st.floats(0, 1))
def test_states_of_orthogonal_designs_are_the_tasks(seed: int, part: float) -> None:
    """With Sigma_hat = I a state is w; two injected states give the two tasks in proportion."""
    rng = np.random.default_rng(seed)
    x = np.sqrt(8) * np.linalg.qr(rng.standard_normal((8, 4)))[0]
    w, other, query = rng.standard_normal((3, 4))
    S, T = (x.T @ (x @ task) / 8 for task in (w, other))
    np.testing.assert_allclose(S, w, atol=1e-13)
    both = inject(S, T, part) @ query
    np.testing.assert_allclose(both, (1 - part) * w @ query + part * other @ query, atol=1e-12)
    # m = 1 replaces the state of a prompt without pairs
    np.testing.assert_allclose(inject(np.zeros(4), S, 1.0) @ query, w @ query, atol=1e-12)
