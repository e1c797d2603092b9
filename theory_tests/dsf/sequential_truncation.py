"""Sequential truncation: orthogonal errors, hence an exact Frobenius identity."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.states.apriori import sequential_bound
from dsf.states.compress import compress, kernel
from dsf.theory_tests import judge

statement = (
    "Replacing, for k = 1..L-1 in turn, the current Hankel block by its best approximation of "
    "rank n gives M^ with |M - M^|_F^2 = sum_k tau_k^2 exactly, where tau_k^2 <= sum_{j>n} "
    "sigma_j(H_k)^2, and |M - M^|_2 <= sum_k sigma_{n+1}(H_k); no monotonicity is needed."
)
reference = "derived: the errors of different cuts have disjoint columns or orthogonal rows"
falsified_by = "a matrix for which the squares do not add up, or a tau_k above its tail"


def claim(L: int = 24, n: int = 3, seed: int = 0, spread: float = 1.0) -> list:
    """The identity, and the violation of both inequalities, for a random causal matrix.

    spread: decades over which its rows are scaled.
    """
    rng = np.random.default_rng(seed)
    M = np.tril(rng.standard_normal((L, L))) * 10.0 ** rng.uniform(-spread, 0, (L, 1))
    cut = compress(M[:, None, :, None], 0.0, gram=False, rank=n)
    E = M - kernel(cut.A, cut.B, cut.C, cut.D)
    tails = [np.linalg.svd(M[k:, :k], compute_uv=False)[n:] for k in range(1, L)]
    above = np.array([t - np.linalg.norm(s) for t, s in zip(cut.tau[1:L], tails, strict=True)])
    full = compress(M[:, None, :, None], 0.0, gram=False)
    scale = np.linalg.norm(M) ** 2
    return [
        (np.linalg.norm(E) ** 2, float(np.sum(cut.tau**2)), 1e-12 * scale),
        (above.clip(0), np.zeros(L - 1), 1e-12 * np.sqrt(scale)),
        (
            max(np.linalg.norm(E, 2) - sequential_bound(full.s, n), 0.0),
            0.0,
            1e-12 * np.sqrt(scale),
        ),
    ]


@given(st.integers(2, 24), st.integers(0, 6), st.integers(0, 10**6), st.floats(0, 3))
def test_identity_and_bounds(L, n, seed, spread):
    assert judge(claim(L, n, seed, spread)).holds


def test_a_different_order_breaks_the_identity():
    """Not vacuous: cutting the original blocks, all at once, leaves a different sum of squares."""
    M = np.tril(np.random.default_rng(0).standard_normal((12, 12)))
    cut = compress(M[:, None, :, None], 0.0, gram=False, rank=2)
    tails = [np.linalg.svd(M[k:, :k], compute_uv=False)[2:] for k in range(1, 12)]
    E = M - kernel(cut.A, cut.B, cut.C, cut.D)
    assert sum(np.sum(s**2) for s in tails) > 1.01 * np.linalg.norm(E) ** 2
