"""State sizes where the output reads the updated state (the convention of the DSF paper)."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.states import minimal_dims, minimal_realization
from dsf.theory_tests import judge

statement = (
    "With y_i = C_i h_i + D_i u_i (read after the update, D_i free) the smallest state is "
    "rank M[i:, :i] + rank M[i+1:, :i+1] - rank M[i+1:, :i] at every i, all at once; a unit delay "
    "needs 2 states, against 1 where the output reads the state before the update."
)
reference = "derived: completion of a matrix with a free corner; the framework is sieber2024"
falsified_by = "a D_i for which [M[i:, :i] | (M_ii - D_i; M[i+1:, i])] has a smaller rank"

DENSE = [1, 2, 3, 4, 4, 4, 3, 2, 1]  # a dense 9 x 9 matrix


def claim(seed: int = 0) -> list:
    """Sizes of a dense 9 x 9 matrix and of the delay, and the realization that attains them."""
    M = np.tril(np.random.default_rng(seed).standard_normal((9, 9)))
    ltv = minimal_realization(M, read="after")
    used = [int(((ltv.B[t, :, 0] != 0) | (ltv.C[t, 0] != 0)).sum()) for t in range(9)]
    delay = np.eye(9, k=-1)
    sizes = [minimal_dims(delay, read=read).max() for read in ("before", "after")]
    return [
        (minimal_dims(M, read="after"), np.array(DENSE), 0.0),
        (np.array(used), np.array(DENSE), 0.0),
        (ltv.kernel(), M, 1e-8 * (1 + np.linalg.norm(M))),
        (np.array(sizes), np.array([1, 2]), 0.0),
    ]


@given(st.integers(0, 10**6))
def test_dense_matrices(seed):
    assert judge(claim(seed)).holds


@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 10**6))
def test_no_diagonal_does_better(L, rank, seed):
    """Integer matrices of low rank: exact ranks, and no trial value of D_i gives a smaller one."""
    rng = np.random.default_rng(seed)
    M = np.tril(rng.integers(-2, 3, (L, rank)) @ rng.integers(-2, 3, (rank, L))).astype(float)
    dims = minimal_dims(M, read="after")
    for i in range(L):
        N = M[i:, : i + 1].copy()
        for d in [0.0, *rng.integers(-9, 10, 6), *rng.standard_normal(3)]:
            N[0, i] = M[i, i] - d
            assert np.linalg.matrix_rank(N) >= dims[i]
