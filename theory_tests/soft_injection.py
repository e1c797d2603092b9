"""Soft injection of a task embedding: one more key, and a mean that forgets the task."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.interventions import inject, slot_logit, softmax

statement = (
    "(1-m) o + m e is attention with one more key of value e and logit logsumexp(s) + "
    "log(m/(1-m)). For linear-attention regression the mean head output over prompts is "
    "w' Sigma E[x_q]: zero for centred queries, so the mean embedding does not know the task w."
)
reference = "derived; the operator is that of arXiv 2507.20906"
falsified_by = "an output off the slot form, or a mean embedding that depends on w at E[x_q] = 0"


def claim(keys: int = 9, mix: float = 0.3, seed: int = 0):
    """The injected output against attention over keys + 1 slots."""
    rng = np.random.default_rng(seed)
    s, v, e = rng.standard_normal(keys), rng.standard_normal((keys, 4)), rng.standard_normal(4)
    rows = softmax(np.append(s, slot_logit(s, mix)))
    return inject(softmax(s) @ v, e, mix), rows @ np.vstack([v, e]), 1e-13


@given(st.integers(1, 40), st.floats(1e-6, 1 - 1e-6), st.integers(0, 99))
def test_slot_form(keys: int, mix: float, seed: int) -> None:
    computed, theory, tolerance = claim(keys, mix, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


def mean_embedding(shift: float, prompts: int = 20_000, d: int = 5, N: int = 10) -> np.ndarray:
    """(mean, its standard error, w'Sigma E[x_q]) of the head outputs w' Sigma_hat x_q."""
    rng = np.random.default_rng(7)
    w, mean = rng.standard_normal(d), np.full(d, shift)
    x = rng.standard_normal((prompts, N, d))
    queries = rng.standard_normal((prompts, d)) + mean
    out = np.einsum("bi,bni,bnj,j->b", queries, x, x, w) / N
    return np.array([out.mean(), out.std() / np.sqrt(prompts), w @ mean])


def test_centred_queries_erase_the_task() -> None:
    mean, error, theory = mean_embedding(0.0)
    assert theory == 0 and abs(mean) < 4 * error


def test_shifted_queries_keep_it() -> None:
    mean, error, theory = mean_embedding(1.0)
    assert abs(mean - theory) < 4 * error
    assert abs(mean) > 20 * error


def test_the_mean_vanishes_exactly_over_a_symmetric_set() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((10, 4)), rng.standard_normal(4)
    q = rng.standard_normal((50, 4))
    outputs = np.concatenate([q, -q]) @ (x.T @ x) @ w
    assert abs(outputs.mean()) < 1e-13 < np.abs(outputs).mean()


@given(st.integers(0, 99), st.floats(0.01, 0.99))
def test_cross_entropy_is_convex_in_the_injected_output(seed: int, part: float) -> None:
    """With a linear read-out; so it is convex in m as well, which enters linearly."""
    rng = np.random.default_rng(seed)
    read, o, e = rng.standard_normal((6, 4)), *rng.standard_normal((2, 4))

    def loss(m: float) -> float:
        s = read @ inject(o, e, m)
        return float(np.logaddexp.reduce(s) - s[0])

    assert loss(part) <= (1 - part) * loss(0.0) + part * loss(1.0) + 1e-12


@pytest.mark.parametrize("mix, which", [(0.0, 0), (1.0, 1)])
def test_ends(mix: float, which: int) -> None:
    pair = np.random.default_rng(0).standard_normal((2, 4))
    np.testing.assert_array_equal(inject(pair[0], pair[1], mix), pair[which])
