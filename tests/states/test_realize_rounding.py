"""The derived rounding bounds, of the finder and of the checker, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat
from hypothesis import given

from dsf.claims import singular as checker
from dsf.claims.realization import Direction, Head
from dsf.core.errors import CertificateError
from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.states import rounding
from dsf.states.compress import compress, kernel
from dsf.states.hankel import leading_vectors, proved_singular_values
from dsf.states.verify import proved_error, scanned_kernel

seeds = st.integers(0, 2**32 - 1)
NORMS = pytest.mark.parametrize("at_most", [rounding.norm_at_most, checker.at_most])
FRO = pytest.mark.parametrize("fro", [rounding.fro, checker.size])


def exact(x: float) -> fmpq:
    f = Fraction(float(x))
    return fmpq(f.numerator, f.denominator)


def rational(M: np.ndarray) -> fmpq_mat:
    return fmpq_mat(M.shape[0], M.shape[1], [exact(x) for x in M.ravel()])


def is_below(E: np.ndarray, t: float) -> bool:
    """Whether ||E||_2 < t exactly: all leading minors of t^2 I - E'E are positive (Sylvester)."""
    A = rational(E)
    n = E.shape[1]
    gram = A.transpose() * A
    S = fmpq_mat(n, n, [exact(t) ** 2 * (i == j) - gram[i, j] for i in range(n) for j in range(n)])
    minors = (
        fmpq_mat(k, k, [S[i, j] for i in range(k) for j in range(k)]).det() for k in range(1, n + 1)
    )
    return all(d > 0 for d in minors)


def singular_values(M: np.ndarray) -> list[arb]:
    """Rigorous enclosures, decreasing."""
    with ctx.workprec(300):  # the precision is global: another test would inherit it
        A = rational(M if M.shape[0] >= M.shape[1] else M.T)
        gram = arb_mat(A.transpose() * A)
        values = [x.real for x in gram.eig(multiple=True, tol=1e-30, maxiter=1000)]
        return sorted((abs(x).sqrt() for x in values), key=float, reverse=True)


def random_matrix(seed: int, p: int, n: int, scale: float) -> np.ndarray:
    """Random entries over many magnitudes."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((p, n)) * 10.0 ** rng.uniform(-scale, scale, (p, n))


def test_gamma_is_not_below_its_definition():
    u = Fraction(1, 2**53)
    for k in (1, 2, 17, 1000, 10**6, 10**9):
        assert Fraction(rounding.gamma(k)) >= k * u / (1 - k * u)
        assert Fraction(checker.g(k)) * (1 + Fraction(1, 2**45)) >= k * u / (1 - k * u)


@pytest.mark.rigor
@FRO
@given(seeds, st.integers(0, 6), st.integers(1, 6), st.floats(0, 12))
def test_frobenius_norm_is_above_the_exact_one(fro, seed, p, n, scale):
    E = random_matrix(seed, p, n, scale)
    square = sum((Fraction(float(x)) ** 2 for x in E.ravel()), Fraction(0))
    bound = fro(E)
    assert Fraction(bound) ** 2 >= square
    assert Fraction(bound) ** 2 <= square * (1 + Fraction(1, 10**10))


@FRO
def test_frobenius_norm_of_extremes(fro):
    assert fro(np.zeros((3, 3))) == 0.0
    assert fro(np.array([5e-324])) >= 5e-324
    assert fro(np.array([1e-200, 1e-200])) >= 1.41421356e-200
    assert 1.4142e160 <= fro(np.array([1e160, -1e160])) <= 1.4143e160
    for x in (1.0, np.nextafter(1.0, 2), np.nextafter(2.0, 0), 3.0):
        assert fro(np.array([x])) >= x
    for bad in (np.inf, np.nan):
        assert fro(np.array([1.0, bad])) == np.inf
    assert fro(np.full(4, 1.7e308)) == np.inf


@pytest.mark.rigor
@FRO
@given(seeds, st.integers(1, 5), st.sampled_from([-1074, -1070, -1060, -1022, -540, 540, 1010]))
def test_frobenius_norm_at_both_ends_of_the_range(fro, seed, n, k):
    """Subnormal results round up; above 1e154 squares overflow, and nothing warns."""
    E = np.ldexp(np.random.default_rng(seed).uniform(-8.0, 8.0, n), k)
    square = sum((Fraction(float(x)) ** 2 for x in E), Fraction(0))
    bound = Fraction(fro(E))
    assert bound**2 >= square
    assert bound**2 <= square * (1 + Fraction(1, 10**10)) + Fraction(2) ** -1060 * bound
    each = Fraction(float(rounding.fro_each(E[None])[0]))
    assert each**2 >= square


@pytest.mark.rigor
@NORMS
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.floats(0, 3), st.integers(1, 52))
def test_norm_is_never_understated(at_most, seed, p, n, scale, bits):
    """Just below the exact norm the answer must be no, at every distance."""
    E = random_matrix(seed, p, n, scale)
    t = float(np.linalg.norm(E, 2)) * (1 + (-1) ** seed * 2.0**-bits)
    if at_most(E, t):
        assert is_below(E, t * (1 + 2.0**-50))


@pytest.mark.rigor
@NORMS
@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_shift_is_needed(at_most, n):
    """At the float norm itself, Cholesky without a shift affirms a false bound in 2 % of cases."""
    for seed in range(200):
        E = np.random.default_rng(seed).standard_normal((n, n))
        for steps in (0, 1, 2):
            t = float(np.linalg.norm(E, 2)) * (1 - steps * 2.0**-53)
            assert not at_most(E, t) or is_below(E, t)


@NORMS
@given(seeds, st.integers(1, 40), st.integers(1, 40), st.floats(0, 3))
def test_norm_is_proved_a_little_above(at_most, seed, p, n, scale):
    E = random_matrix(seed, p, n, scale)
    size = float(np.linalg.norm(E, 2))
    assert at_most(E, size * (1 + 1e-6))
    assert not at_most(E, size * (1 - 1e-9))


@NORMS
@pytest.mark.parametrize("n", [2, 8, 64, 256])
def test_norm_of_hadamard_matrices(at_most, n):
    """All n singular values equal sqrt(n): the hardest case of the rounding shift."""
    H = np.ones((1, 1))
    while len(H) < n:
        H = np.kron(H, [[1, 1], [1, -1]])
    assert not at_most(H, np.sqrt(n) * (1 - 1e-15))
    assert at_most(H, np.sqrt(n) * (1 + 1e-8))


@NORMS
def test_norm_of_odd_input(at_most):
    assert at_most(np.zeros((0, 0)), 0.0) and at_most(np.zeros((4, 2)), 0.0)
    assert not at_most(np.full((3, 3), np.nan), 1.0)
    assert not at_most(np.eye(3), -1.0) and not at_most(np.eye(3), np.nan)
    assert not at_most(
        1e-170 * np.ones((2, 2)), 1.5e-170
    )  # squares underflow: refused, not believed
    lower = np.tril(np.random.default_rng(0).standard_normal((600, 600)))
    size = np.linalg.norm(lower, 2)  # larger than a block of the triangular product
    assert at_most(lower, size * (1 + 1e-9)) and not at_most(lower, size * (1 - 1e-11))


@given(seeds, st.integers(1, 30), st.integers(1, 30))
def test_estimates_and_bounds_bracket_the_norm(seed, p, n):
    E = random_matrix(seed, p, n, 1.0)
    size = float(np.linalg.norm(E, 2))
    value, v = rounding.ritz(E)
    assert value <= size * (1 + 1e-12) and abs(np.linalg.norm(v) - 1) < 1e-12
    assert rounding.norm_lower(E, v) <= size <= rounding.norm_upper(E)
    assert rounding.norm_upper(E) <= size * 1.2


@given(seeds, st.integers(0, 5), st.integers(0, 5), st.floats(0, 3), st.booleans())
def test_norms_of_transitions(seed, L, n, scale, contractive):
    A = np.random.default_rng(seed).standard_normal((L, n, n))
    if contractive:  # one of them grows by 1e-6: it must not pass as a contraction
        A = np.linalg.qr(A)[0]
        A[-1:] *= 1 + 1e-6
    else:
        A *= 10.0 ** np.random.default_rng(seed).uniform(-scale, scale, (L, 1, 1))
    sizes = np.linalg.norm(A, 2, axis=(1, 2)) if n else np.zeros(L)
    bounds = rounding.transition_norms(A)
    other = checker.contractive(A, [checker.size(x) for x in A])
    for bound in (bounds, np.array(other)):
        assert np.all(bound >= sizes * (1 - 1e-14))
        assert np.all(bound <= np.linalg.norm(A, axis=(1, 2)) * (1 + 1e-10) + 1e-100)
    if contractive and n > 1 and L:
        assert np.all(bounds[:-1] <= 1 + 2e-9) and bounds[-1] > 1 + 1e-7
    assert np.allclose(rounding.fro_each(A), np.linalg.norm(A, axis=(1, 2)), rtol=1e-10)
    assert np.all(rounding.fro_each(A) >= np.linalg.norm(A, axis=(1, 2)) * (1 - 1e-14))


def exact_kernel(A, B, C, D) -> list[list[Fraction]]:
    """Entries C_t A_{t-1} ... A_{j+1} B_j in rational arithmetic (r = m = 1)."""
    L = len(B)
    K = [[Fraction(0)] * L for _ in range(L)]
    for j in range(L):
        x = rational(B[j])
        K[j][j] = Fraction(float(D[j, 0, 0]))
        for t in range(j + 1, L):
            y = (rational(C[t]) * x)[0, 0]
            K[t][j] = Fraction(int(y.p), int(y.q))
            x = rational(A[t]) * x
    return K


@pytest.mark.rigor
@given(seeds, st.integers(1, 9), st.integers(1, 4), st.sampled_from([0.5, 1.0, 3.0]))
def test_evaluation_error_of_the_kernel(seed, L, n, size):
    """Both evaluations stay within their own bounds, also where transitions grow."""
    rng = np.random.default_rng(seed)
    A, B = size * rng.standard_normal((L, n, n)), rng.standard_normal((L, n, 1))
    C, D = rng.standard_normal((L, 1, n)), rng.standard_normal((L, 1, 1))
    truth = exact_kernel(A, B, C, D)
    K, bound = scanned_kernel(A, B, C, D)
    backward, other = checker.kernel(A, B, C)
    for found, limit in ((K, bound), (backward + np.diag(D[:, 0, 0]), other)):
        off = sum(
            (Fraction(float(found[i, j])) - truth[i][j]) ** 2 for i in range(L) for j in range(L)
        )
        assert off <= Fraction(limit) ** 2
    assert bound <= 1e-9 * (1 + np.linalg.norm(K)) * max(size, 1) ** L * n**L
    assert np.array_equal(K.shape, (L, L))


@pytest.mark.parametrize("k", [0, -150, -250, -330, -500])
def test_evaluation_error_of_a_tiny_kernel(k):
    """Squares of such errors are 0 in float64; the errors are not."""
    rng = np.random.default_rng(0)
    A, D = rng.standard_normal((4, 3, 3)), np.zeros((4, 1, 1))
    B, C = np.ldexp(rng.standard_normal((2, 4, 3, 1)), k)
    C = np.swapaxes(C, 1, 2)
    truth = exact_kernel(A, B, C, D)
    found, limit = checker.kernel(A, B, C)
    off = sum((Fraction(float(found[i, j])) - truth[i][j]) ** 2 for i in range(4) for j in range(i))
    assert 0 < off <= Fraction(limit) ** 2


def test_a_norm_that_overflows_proves_nothing():
    M, v = np.full((2, 1, 2, 1), 1e200), np.array([0.6, 0.8])
    nothing = Direction(cut=0, U=np.zeros((2, 0)), V=np.zeros((0, 0)), cache=True)
    head = Head(
        M=M, error=1.0, D=M[:, :, 0], forward=nothing, norm_low=1e250, norm_high=1e300, norm_v=v
    )
    with np.errstate(over="ignore"), pytest.raises(CertificateError, match="does not follow"):
        head.norm_bounds(0.0)
    with np.errstate(over="ignore"):
        assert rounding.norm_lower(M[:, 0, :, 0], v) <= 2e200


def test_evaluation_bound_is_useful():
    M = np.tril(np.exp(np.random.default_rng(0).standard_normal((200, 200))))
    M /= M.sum(1, keepdims=True)
    c = compress(M[:, None, :, None], 0.05)
    for bound in (scanned_kernel(*c.sliced(c.n))[1], checker.kernel(c.A, c.B, c.C)[1]):
        assert 0 < bound < 1e-9


@given(seeds, st.integers(0, 150), st.integers(0, 5), st.integers(1, 2), st.integers(1, 3))
def test_three_evaluations_agree(seed, L, n, r, m):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((L, n, n)) / max(n, 1)
    B, C = rng.standard_normal((L, n, m)), rng.standard_normal((L, r, n))
    D = rng.standard_normal((L, r, m))
    slow = LTV(Dense(A), B, C, D, read="before", steps=L).kernel().reshape(L * r, L * m)
    assert np.allclose(kernel(A, B, C, D), slow, rtol=1e-10, atol=1e-10)
    assert np.allclose(scanned_kernel(A, B, C, D)[0], slow, rtol=1e-10, atol=1e-10)


@pytest.mark.rigor
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.floats(0, 0.3), st.booleans())
def test_singular_values_are_never_overstated(seed, p, q, noise, shifted):
    """Whatever the test subspaces are, orthonormal or not."""
    rng = np.random.default_rng(seed)
    H = random_matrix(seed, p, q, 0.5)
    P, Q = leading_vectors(H, count=min(p, q))
    P = (1 + shifted) * P + noise * rng.standard_normal(P.shape)
    Q = Q + noise * rng.standard_normal(Q.shape)
    bounds = proved_singular_values(H, P, Q)
    for bound, value in zip(bounds, singular_values(H), strict=False):
        assert bound <= float(value.upper())
    if noise == 0.0 and not shifted and bounds[-1] > 0:
        least, _ = checker.smallest(H, P, Q)
        assert bounds[-1] * (1 - 1e-6) <= least <= float(singular_values(H)[-1].upper())


@given(seeds, st.integers(2, 40))
def test_singular_values_are_tight(seed, n):
    H = np.random.default_rng(seed).standard_normal((n, n + 3))
    s = np.linalg.svd(H, compute_uv=False)
    P, Q = leading_vectors(H, count=n)
    assert np.all(proved_singular_values(H, P, Q) >= s - 1e-10 * s[0])


def test_sketch_is_valid_and_sharp():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(10, 1.0), 0.5 ** np.arange(1, 391)])
    left = np.linalg.qr(rng.standard_normal((420, 400)))[0]
    H = (left * values) @ np.linalg.qr(rng.standard_normal((400, 400)))[0]
    P, Q = leading_vectors(H, above=1e-3)
    assert P.shape[1] < 48  # no full SVD
    bounds = proved_singular_values(H, P, Q)
    assert np.all(bounds <= values[: len(bounds)] * (1 + 1e-12))
    assert np.count_nonzero(bounds > 1e-3) == np.count_nonzero(values > 1e-3)


@given(seeds, st.integers(1, 12), st.floats(0, 0.1))
def test_proved_error_covers_the_radius(seed, L, radius):
    E = random_matrix(seed, L, L, 0.5)
    bound = proved_error(E, 1e-12, radius)
    assert bound >= np.linalg.norm(E, 2) + radius + 1e-12
    assert bound <= 1.2 * np.linalg.norm(E, 2) + radius + 1e-11
