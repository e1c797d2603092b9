"""The rank lemma: solutions lie in the spans of queries and of token differences."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.solvers import attention_svm
from dsf.solvers.svm.instances import draw
from dsf.theory_tests import judge

statement = (
    "Every solution of the attention-SVM maps onto the span of the token differences and has its "
    "row space in the span of the queries; its rank is at most min(n, d), in either norm."
)
reference = "tarzanagh2023, rank lemma (the bound is min(n, d), not max)"
falsified_by = "a solution with a component outside span(differences) x span(queries)"


def claim(seed: int = 1, n: int = 3, T: int = 4, d: int = 6, norm: str = "frobenius") -> list:
    """W = P W Q with the projectors on both spans, and singular value number min(n, d) + 1."""
    i = draw(seed, n, T, d)
    s = attention_svm(i.X, i.z, i.optimal, norm=norm)
    if s.W is None:
        return [s.certificate]
    W = s.W / s.value
    P, Q = projector(s.problem.left), projector(i.z)
    sigma = np.append(np.linalg.svd(W, compute_uv=False), 0.0)
    # the Frobenius solution is sum lam_j A_j, so only rounding lies outside the spans; the conic
    # program of the nuclear norm is posed inside them
    out = [(P @ W @ Q, W, 1e-12), (float(sigma[min(n, d)]), 0.0, 1e-12), s.certificate]
    if norm == "nuclear":
        k = int(s.rank.witnesses["k"])
        out += [s.rank, (float(k <= min(n, d)), 1.0, 0.0)]
    return out


def projector(A: np.ndarray) -> np.ndarray:
    _, S, Vt = np.linalg.svd(A, full_matrices=False)
    V = Vt[S > 1e-12 * S[0]]
    return V.T @ V


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 5), st.integers(2, 7))
def test_frobenius(seed, n, T, d):
    assert judge(claim(seed, n, T, d)).holds


@pytest.mark.solver
@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 4), st.integers(2, 5))
def test_nuclear(seed, n, T, d):
    assert judge(claim(seed, n, T, d, "nuclear")).holds


@pytest.mark.solver
def test_a_conic_solver_that_does_not_know_the_lemma_obeys_it():
    """In the full space, without the reduction to the spans."""
    i = draw(1, 3, 4, 6)
    s = attention_svm(i.X, i.z, i.optimal, solvers=["CLARABEL"])
    sigma = np.linalg.svd(s.W / s.value, compute_uv=False)
    assert sigma[3:].max() < 1e-9


@pytest.mark.solver
def test_the_nuclear_solution_has_a_much_lower_rank():
    """Mean certified rank 2.5 of 10 draws at n = 5, T = 5, d = 10, where Frobenius has 5."""
    ranks = []
    for seed in range(10):
        i = draw(seed, 5, 5, 10)
        ranks.append(attention_svm(i.X, i.z, i.optimal, norm="nuclear").rank.witnesses["k"])
        s = attention_svm(i.X, i.z, i.optimal)
        assert np.linalg.matrix_rank(s.W, tol=1e-8 * s.value) == 5
    assert abs(np.mean(ranks) - 2.5) <= 0.3
