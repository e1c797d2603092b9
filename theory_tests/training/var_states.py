"""Redistribution in a recurrent mixer: a linear system with twice the states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.system import LTV
from dsf.core.transition import Diag
from dsf.solvers.heads.interventions import redistribute
from dsf.theory_tests.training.mixer_ranks import semiseparable_rank
from dsf.theory_tests.training.var_redistribution import masks

statement = (
    "With fixed groups of columns redistribution is M' = M diag(w) + diag(c) M diag(1_{I-K}), w = "
    "p on sinks: a mixer of n states turns into one of 2n, one half for all tokens, one for the "
    "image without sinks. On random tokens no smaller system gives M'."
)
reference = "kang2025 (arXiv 2503.03321) for the rule; the recursion is derived here"
falsified_by = (
    "a kernel off the redistributed rows, or a semiseparable rank above 2n or below the generic one"
)


def recurrent(rng: np.random.Generator, T: int, n: int) -> tuple[np.ndarray, ...]:
    """Normalised linear attention with n positive features: (q / normaliser, k, M)."""
    q, k = rng.random((2, T, n)) + 0.1
    q = q / np.sum(q * np.cumsum(k, axis=0), axis=1, keepdims=True)
    return q, k, np.tril(q @ k.T)


def doubled(q: np.ndarray, k: np.ndarray, M: np.ndarray, image, sinks, p: float) -> LTV:
    """The system with 2n states: one half holds all tokens, the other the image without sinks."""
    others = image & ~sinks
    weight = M[:, others].sum(1)
    c = (1 - p) * M[:, sinks].sum(1) / np.where(weight > 0, weight, np.inf)
    w = np.where(sinks, p, 1.0)
    B = np.concatenate([w[:, None] * k, others[:, None] * k], axis=1)[:, :, None]
    C = np.concatenate([q, c[:, None] * q], axis=1)[:, None, :]
    return LTV(Diag(log_a=np.zeros((1, 2 * k.shape[1]))), B, C)


def claim(T: int = 24, n: int = 3, p: float = 0.6, seed: int = 0):
    """The kernel of the 2n recursion against the redistributed rows (rows after the image)."""
    rng = np.random.default_rng(seed)
    q, k, M = recurrent(rng, T, n)
    image, sinks = masks(rng, T)
    first = int(np.flatnonzero(image & ~sinks)[0])  # rows before it have nowhere to put weight
    kernel = doubled(q, k, M, image, sinks, p).kernel()
    return kernel[first:], redistribute(M, image, sinks, p)[first:], 3e-15 * n


@given(st.integers(0, 50), st.integers(10, 30), st.integers(1, 4), st.floats(0, 1))
def test_the_recursion_with_twice_the_states(seed: int, T: int, n: int, p: float) -> None:
    computed, theory, tolerance = claim(T, n, p, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


def generic_rank(others: np.ndarray, n: int) -> int:
    """The largest rank that a block can have: n for each group with n tokens in the past, if
    enough tokens follow."""
    T = len(others)
    return max(
        min(T - i, min(n, int(others[:i].sum())) + min(n, int((~others[:i]).sum())))
        for i in range(1, T)
    )


@given(st.integers(1, 4), st.integers(0, 20))
def test_the_states_double_and_not_more(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, M = recurrent(rng, 30, n)
    image, sinks = masks(rng, 30)
    system = doubled(q, k, M, image, sinks, 0.6)
    assert semiseparable_rank(M) == n and system.n == 2 * n
    # below 2n only where too few tokens follow the n-th one outside the image
    assert semiseparable_rank(system.kernel()) == generic_rank(image & ~sinks, n) <= 2 * n


@pytest.mark.parametrize("seed", range(5))
def test_three_states_become_six(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, M = recurrent(rng, 30, 3)
    image, sinks = masks(rng, 30)
    kernel = doubled(q, k, M, image, sinks, 0.6).kernel()
    assert (semiseparable_rank(M), semiseparable_rank(kernel)) == (3, 6)
