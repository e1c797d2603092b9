"""Two reflections per token count modulo 3; n of them permute n + 1 objects."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run

statement = (
    "The product of the reflections at the angles 60 and 0 degrees is the rotation by 120 degrees, "
    "R^3 = I: DeltaProduct with two substeps at the closed end beta = 2 counts modulo 3 exactly, "
    "with two states. Every permutation of n + 1 objects is a product of at most n reflections I - "
    "2 k k' with k = (e_i - e_j)/sqrt 2. One reflection has real eigenvalues only, and on a "
    "repeated token a period of at most 2."
)
reference = "grazzi2024; siems2025"
falsified_by = "A permutation of n + 1 objects that needs more than n transpositions."

SIXTY = np.pi / 3


def reflection(angle: float) -> np.ndarray:
    """I - 2 k k', whose mirror is the line at the given angle."""
    k = np.array([-np.sin(angle), np.cos(angle)])
    return np.eye(2) - 2 * np.outer(k, k)


def counter(L: int) -> np.ndarray:
    """Outputs of DeltaProduct on one token that writes and L tokens that rotate by 120 degrees."""
    unit = {0: (0.0, 1.0), 1: (-np.sin(SIXTY), np.cos(SIXTY))}
    keys = [(1.0, 0.0), (0.0, 1.0)] + [unit[0], unit[1]] * L
    beta = [1.0, 0.0] + [2.0, 2.0] * L
    value = [1.0] + [0.0] * (2 * L + 1)
    q = np.tile([1.0, 0.0], (L + 1, 1))
    return run(dsf.deltaproduct, q=q, k=np.array(keys), beta=beta, v=value)[:, 0]


def transpositions(order: tuple[int, ...]) -> list[tuple[int, int]]:
    """A permutation as swaps (i, j), at most one per object that is not yet in its place."""
    now, swaps = list(range(len(order))), []
    for i, target in enumerate(order):
        if now[i] != target:
            j = now.index(target)
            now[i], now[j] = now[j], now[i]
            swaps.append((i, j))
    return swaps


def swap(m: int, i: int, j: int) -> np.ndarray:
    """The reflection that exchanges the axes i and j of R^m."""
    k = np.zeros(m)
    k[i], k[j] = 2**-0.5, -(2**-0.5)
    return np.eye(m) - 2 * np.outer(k, k)


def claim(L: int = 12) -> list:
    """The rotation, its third power, and the counter."""
    R = reflection(SIXTY) @ reflection(0.0)
    turn = np.array([[-0.5, -(0.75**0.5)], [0.75**0.5, -0.5]])
    expected = np.cos(2 * np.pi / 3 * np.arange(L + 1))
    return [
        (R, turn, 1e-15),
        (np.linalg.matrix_power(R, 3), np.eye(2), 1e-15),
        (counter(L), expected, 1e-14 * (L + 1)),
    ]


@pytest.mark.parametrize("L", [1, 3, 12, 100])
def test_the_claim_holds(L):
    assert judge(claim(L)).holds


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_n_reflections_permute_n_plus_one_objects(n):
    for order in permutations(range(n + 1)):
        swaps = transpositions(order)
        assert len(swaps) <= n
        P = np.eye(n + 1)
        for i, j in swaps:
            P = swap(n + 1, i, j) @ P
        assert np.allclose(P @ np.arange(n + 1), order, atol=1e-13)


@given(st.integers(2, 5), st.floats(0, 2), st.integers(0, 2**31))
def test_one_delta_step_has_real_eigenvalues(n, beta, seed):
    k = np.random.default_rng(seed).standard_normal(n)
    k /= np.linalg.norm(k)
    a = np.linalg.eigvals(np.eye(n) - beta * np.outer(k, k))
    assert np.allclose(a.imag, 0) and np.allclose(
        np.sort(a.real), np.sort([1 - beta, *[1] * (n - 1)])
    )
