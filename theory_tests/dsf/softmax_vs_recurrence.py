"""Softmax attention is no recurrence with n states, whatever n is."""

from __future__ import annotations

from math import factorial, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import one_state_gap, separate, softmax_rank_witness

statement = (
    "A recurrence with n states per value channel has Hankel blocks of rank at most n, for any "
    "gates. Softmax attention with keys 0..n and then queries log 1 .. log(n+1) has a Hankel "
    "block of rank n+1: row-scaled Vandermonde, determinant prod_{m<=n} m! = 1, 2, 12, 288, 34560 "
    "for n = 1..5. 2n+2 tokens are the least: with fewer, every cut has at most n tokens on one "
    "side. For n = 1, keys (-s, s) and queries (-1, 1) the error in the operator norm is at least "
    "0.4957 (s = 1) and 0.9643 (s = 4)."
)
reference = "dewilde1998"
falsified_by = "A recurrence with n states that reproduces softmax attention on these 2n+2 tokens."

DETERMINANTS = {1: 1, 2: 2, 3: 12, 4: 288, 5: 34560}


def kernel(n: int) -> np.ndarray:
    """M [2n+2 2n+2] of softmax attention on the witness."""
    w = softmax_rank_witness(n)
    q = [0.0] * (n + 1) + [float(np.log(b)) for b in w.bases]
    k = [float(e) for e in w.keys] + [0.0] * (n + 1)
    return run(dsf.softmax, q=q, k=k, v=np.eye(w.length))


def claim(n: int = 3) -> list:
    """The block, its determinant, what one state costs, and the certificate."""
    w = softmax_rank_witness(n)
    block = kernel(n)[n + 1 :, : n + 1]
    scaled = np.linalg.det(np.array(w.vandermonde, dtype=np.float64))
    outcomes: list = [
        (block, w.block.astype(np.float64), 1e-13),
        (w.determinant, prod(factorial(m) for m in range(1, n + 1)), 0),
        (scaled / w.determinant, 1.0, 1e-9),
        (one_state_gap(1).lower, 0.4957, 5e-5),
        (one_state_gap(4).lower, 0.9643, 5e-5),
        one_state_gap(1),
        one_state_gap(4),
    ]
    return [*outcomes, *separate(dsf.softmax, dsf.recurrence(n))]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_claim_holds(n):
    assert softmax_rank_witness(n).determinant == DETERMINANTS[n]
    assert judge(claim(n)).holds


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_rank_is_n_plus_one(n):
    sigma = np.linalg.svd(kernel(n)[n + 1 :, : n + 1], compute_uv=False)
    assert np.all(sigma > 1e-6)


@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 2**31))
def test_recurrences_have_hankel_rank_at_most_n(n, L, seed):
    rng = np.random.default_rng(seed)
    shapes = ((L, n, n), (L, n, 1), (L, 1, n))
    A, B, C = (rng.standard_normal(s) for s in shapes)
    M = LTV(Dense(A), B, C, read="before").kernel()
    for k in range(1, L):
        sigma = np.linalg.svd(M[k:, :k], compute_uv=False)
        assert np.all(sigma[n:] <= 1e-10 * sigma[0])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_shorter_inputs_have_no_cut_that_is_large_enough(n):
    L = 2 * n + 1
    assert max(min(k, L - k) for k in range(L + 1)) == n


@given(st.integers(0, 2**31))
def test_one_state_never_does_better_than_its_bound(seed):
    rng = np.random.default_rng(seed)
    q, k = [0.0, 0.0, -1.0, 1.0], [-1.0, 1.0, 0.0, 0.0]
    M = run(dsf.softmax, q=q, k=k, v=np.eye(4))
    A, B, C, D = (rng.standard_normal((4, 1, 1)) for _ in range(4))
    best = LTV(Dense(A), B, C, D, read="before").kernel()
    bound = float(one_state_gap(1).lower or 0)
    U, sigma, V = np.linalg.svd(M[2:, :2])
    best[2:, :2] = sigma[0] * np.outer(U[:, 0], V[0])  # the best rank-one block
    for error in (M - best, M - LTV(Dense(A), B, C, D).kernel()):
        assert np.linalg.norm(error, 2) >= bound > 0
