"""Minimal realizations and sequential truncation, against their definitions."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError
from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.states import minimal_dims, minimal_realization
from dsf.states.compress import BLOCK, OutOfTime, compress

seeds = st.integers(0, 2**32 - 1)


def causal(seed: int, L: int, r: int = 1, m: int = 1) -> np.ndarray:
    M = np.random.default_rng(seed).standard_normal((L, r, L, m))
    return M * np.tril(np.ones((L, L)))[:, None, :, None]


def low_rank(seed: int, L: int, n: int, r: int = 1, m: int = 1) -> np.ndarray:
    """The kernel of a random contractive LTV with n states."""
    rng = np.random.default_rng(seed)
    A = np.linalg.qr(rng.standard_normal((L, n, n)))[0] if n else np.zeros((L, 0, 0))
    B, C = rng.standard_normal((L, n, m)), rng.standard_normal((L, r, n))
    D = rng.standard_normal((L, r, m))
    K = LTV(Dense(0.9 * A), B, C, D, read="before", steps=L).kernel()
    return K.reshape(L, r, L, m)


def block_norm(M: np.ndarray) -> float:
    return float(np.abs(M).max(initial=0.0))


@pytest.mark.smoke
def test_dims_of_a_dense_matrix():
    M = np.tril(np.random.default_rng(0).standard_normal((9, 9)))
    assert minimal_dims(M).tolist() == [1, 2, 3, 4, 4, 3, 2, 1, 0]
    assert minimal_dims(M, read="after").tolist() == [1, 2, 3, 4, 4, 4, 3, 2, 1]


def test_dims_of_the_unit_delay():
    assert minimal_dims(np.eye(6, k=-1)).max() == 1
    assert minimal_dims(np.eye(6, k=-1), read="after").max() == 2


@given(seeds, st.integers(0, 12), st.integers(0, 4), st.integers(1, 2), st.integers(1, 3))
def test_balanced(seed, L, n, r, m):
    """Both Gramians of the realization equal the singular values of the Hankel blocks."""
    M = low_rank(seed, L, n, r, m)
    ltv = minimal_realization(M)
    dims = minimal_dims(M)
    assert ltv.n == dims.max(initial=0) <= n
    assert block_norm(ltv.kernel().reshape(M.shape) - M) <= 1e-10 * (1 + block_norm(M))
    A, B, C = ltv.A.dense(), ltv.B, ltv.C
    scale = 1 + np.linalg.norm(M)
    P, Q = np.zeros((L + 1, ltv.n, ltv.n)), np.zeros((L + 1, ltv.n, ltv.n))
    for k in range(L):
        P[k + 1] = A[k] @ P[k] @ A[k].T + B[k] @ B[k].T
    for k in reversed(range(L)):
        Q[k] = A[k].T @ Q[k + 1] @ A[k] + C[k].T @ C[k]
    for k in range(1, L):
        s = np.linalg.svd(M[k:, :, :k].reshape((L - k) * r, k * m), compute_uv=False)
        sigma = np.zeros(ltv.n)
        sigma[: dims[k - 1]] = s[: dims[k - 1]]
        assert np.allclose(P[k], np.diag(sigma), atol=1e-9 * scale)
        assert np.allclose(Q[k], np.diag(sigma), atol=1e-9 * scale)


@given(seeds, st.integers(1, 10), st.integers(0, 3), st.integers(1, 2), st.integers(1, 3))
def test_after_convention(seed, L, n, r, m):
    M = low_rank(seed, L, n, r, m)
    ltv = minimal_realization(M, read="after")
    dims = minimal_dims(M, read="after")
    assert ltv.read == "after" and ltv.n == dims.max(initial=0)
    assert block_norm(ltv.kernel().reshape(M.shape) - M) <= 1e-8 * (1 + block_norm(M))
    # padding holds nothing: the state at step t has dims[t] coordinates in use
    for t in range(L):
        assert not np.any(ltv.B[t, dims[t] :]) and not np.any(ltv.C[t, :, dims[t] :])


@given(seeds, st.integers(1, 9))
def test_slow_twin(seed, L):
    """One SVD per cut, as in the textbook, gives the same dimensions and the same operator."""
    M = causal(seed, L)[:, 0, :, 0]
    factors = [(np.zeros((L, 0)), np.zeros((0, 0)))]
    for k in range(1, L + 1):
        left, s, Vt = np.linalg.svd(M[k:, :k], full_matrices=False)
        n = int((s > 1e-10 * np.linalg.norm(M, 2)).sum())
        root = np.sqrt(s[:n])
        factors.append((left[:, :n] * root, root[:, None] * Vt[:n]))
    K = np.zeros((L, L))
    for j in range(L):
        x = factors[j + 1][1][:, j]
        K[j, j] = M[j, j]
        for t in range(j + 1, L):
            O, R = factors[t]
            K[t, j] = O[0] @ x
            x = factors[t + 1][1][:, :t] @ np.linalg.pinv(R) @ x
    assert np.allclose(K, M, atol=1e-8)
    assert [R.shape[0] for _, R in factors[1:]] == minimal_dims(M).tolist()
    assert np.allclose(minimal_realization(M).kernel(), K, atol=1e-8)


def test_empty_and_zero():
    for M in (np.zeros((0, 0)), np.zeros((1, 1)), np.zeros((4, 4)), np.eye(3)):
        for read in ("after", "before"):
            ltv = minimal_realization(M, read=read)
            assert np.allclose(ltv.kernel(), M, atol=1e-12)
    assert minimal_dims(np.zeros((4, 4)), read="after").max() == 0
    assert minimal_dims(np.eye(3), read="after").max() == 0  # D is free


@pytest.mark.parametrize(
    "error, M, options",
    [
        (ShapeError, np.zeros((2, 3)), {}),
        (ShapeError, np.zeros((2, 3, 3)), {}),
        (DTypeError, np.eye(2) * 1j, {}),
        (NonFiniteError, np.full((2, 2), np.nan), {}),
        (DomainError, np.eye(2), {"read": "later"}),
    ],
)
def test_bad_input(error, M, options):
    for function in (minimal_realization, minimal_dims):
        with pytest.raises(error):
            function(M, **options)


# ------------------------------------------------------ sequential truncation
def truncated(M: np.ndarray, keep) -> tuple[np.ndarray, list[float]]:
    """The definition: for k = 1..L-1 replace the current Hankel block by a truncated SVD of it."""
    L, r, _, m = M.shape
    F, tau = M.reshape(L * r, L * m).copy(), [0.0]
    for k in range(1, L):
        left, s, Vt = np.linalg.svd(F[k * r :, : k * m], full_matrices=False)
        n = keep(s)
        F[k * r :, : k * m] = (left[:, :n] * s[:n]) @ Vt[:n]
        tau.append(float(np.linalg.norm(s[n:])))
    return F, tau


@given(
    seeds, st.integers(1, 14), st.integers(1, 2), st.integers(1, 2), st.floats(0, 3), st.booleans()
)
def test_sequential_truncation_is_its_definition(seed, L, r, m, tol, gram):
    M = causal(seed, L, r, m)
    slow, tau = truncated(M, lambda s: int((s > tol).sum()))
    c = compress(M, tol, gram=gram)
    K = LTV(Dense(c.A), c.B, c.C, c.D, read="before", steps=L).kernel().reshape(slow.shape)
    assert np.allclose(K, slow, atol=1e-6 if gram else 1e-9)
    assert np.allclose(c.tau[:L], tau, atol=1e-6 if gram else 1e-9)
    # input-normal coordinates: [A B][A B]' = I on the states in use
    for k in range(L):
        n = int((c.s[k + 1] > 0).sum())
        AB = np.hstack([c.A[k, :n], c.B[k, :n]])
        assert np.allclose(AB @ AB.T, np.eye(n), atol=1e-10)


@pytest.mark.parametrize("L", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_gram_and_svd_agree_across_blocks(L):
    M = low_rank(L, L, 6) + 1e-3 * causal(L, L)
    fast, slow = compress(M, 0.05), compress(M, 0.05, gram=False)
    assert fast.n == slow.n
    assert np.allclose(fast.s, slow.s, atol=1e-7)
    for c in (fast, slow):
        K = LTV(Dense(c.A), c.B, c.C, c.D, read="before", steps=L).kernel()
        assert np.linalg.norm(K - M[:, 0, :, 0]) == pytest.approx(np.linalg.norm(c.tau), rel=1e-6)


def test_compress_caps_and_stops():
    M = causal(0, 40)
    assert compress(M, 0.0, rank=3, gram=False).n == 3
    with pytest.raises(OutOfTime, match="states at cut"):
        compress(M, 0.0, gram=False, limit=5)
    with pytest.raises(OutOfTime, match="time limit"):
        compress(M, 0.0, gram=False, deadline=0.0)


@pytest.mark.parametrize("gram", [True, False])
def test_no_cut_keeps_more_states_than_outputs_that_follow(gram):
    """Also without a tolerance, where what rounding leaves is not dropped."""
    M = np.tril(np.random.default_rng(2).standard_normal((9, 9)))[:, None, :, None]
    s = compress(M, 0.0, gram=gram).s
    assert [int(np.count_nonzero(s[k])) <= 9 - k for k in range(10)] == [True] * 10
