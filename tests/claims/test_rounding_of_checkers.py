"""More terms of the rounding bounds: each case is a false bound that passes without one of them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dsf.claims.realization import Direction, Head
from dsf.claims.singular import kernel, size, smallest
from dsf.core.errors import CertificateError
from dsf.states.rounding import fro, fro_each, norm_lower, transition_norms

LEAST = 2.0**-1074
ONE = np.ones((1, 1))


def exact(x: float) -> Fraction:
    return Fraction(float(x))


@pytest.mark.parametrize("norm", [size, fro])
def test_the_squares_that_a_sum_loses_count(norm):
    """Behind partial sums of 1, however many there are, squares just below 2^-53 are lost."""
    X = np.full(2**22, 2.0**-27 * 1.41)
    X[:64] = 1.0
    square = 64 + (X.size - 64) * exact(X[-1]) ** 2
    with threadpool_limits(limits=1, user_api="blas"):
        plain = float(np.linalg.norm(X))
        if exact(plain * (1 + 2.0**-40)) ** 2 >= square:
            pytest.skip("this machine adds more exactly")
        assert exact(norm(X)) ** 2 >= square


@pytest.mark.parametrize("norm", [size, fro])
def test_norms_below_the_normal_floats_are_rounded_up(norm):
    X = np.full((1, 2), LEAST)
    assert exact(norm(X)) ** 2 >= 2 * exact(LEAST) ** 2


def test_directions_may_be_too_long():
    long = ONE * (1 + 4e-10)
    assert exact(smallest(ONE, long, long)[0]) <= 1


def test_what_is_not_diagonal_counts():
    with pytest.raises(CertificateError):
        smallest(np.ones((2, 2)), np.eye(2), np.eye(2))  # of rank 1


def tall(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tall outer product of integers, and directions along which floats add up large sums."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, 1000, 2**14).astype(float), rng.integers(1, 1000, 2).astype(float)
    signs = np.where(np.arange(a.size) < a.size // 2, 1.0, -1.0)
    P = np.linalg.qr(np.column_stack([a, signs]))[0]
    Q = np.linalg.qr(np.column_stack([b, [1.0, 0.0]]))[0]
    return np.outer(a, b), P, Q


def test_the_first_product_of_matrices_loses():
    """sigma_2 = 0, and only the product with U has long sums."""
    for seed in range(60):
        with pytest.raises(CertificateError):
            smallest(*tall(seed))


def wide() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wide outer product x a', and directions along which each row meets roundings of its own.

    What is added to a number in [1, 2), in units of its half last bit: 4/3 for the first row is
    rounded to 2, and 2 for the second is exact; 0.9 is lost, and 1.35 rounded to 2.  Equal parts of
    such errors cancel in the first row.  The entries are far apart: however sums are split into
    blocks and lanes, these are added to each other.
    """
    unit, apart, parts, big = 2.0**-53 / 1.5, 1024, 100, float(np.sqrt(0.5))
    x, a = np.array([1.5, 2.25]), np.zeros((parts + 4) * apart)
    a[::apart] = 1.0
    a[2 * apart : -2 * apart : apart] = 2.0**-10
    added = np.full((parts, 2), 4 / 3 + 1e-9)
    added[np.arange(parts) % 7 < 3, 1] = 0.9
    V = np.zeros((a.size, 2))
    V[2 * apart : -2 * apart : apart] = added * unit * 2.0**10
    for j in range(2):
        V[j * apart, j] = big
        V[-(1 + j) * apart, j] = -(big + added[:, j].sum() * unit)
    return np.outer(x, a), np.eye(2), V


def test_the_second_product_of_matrices_loses():
    """sigma_2 = 0, and only the product with V has long sums."""
    with pytest.raises(CertificateError):
        smallest(*wide())


def test_underflow_in_a_hankel_block_counts():
    """Integers times the least float: sigma_2 = 0, but their products with fractions are lost."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = rng.integers(-30, 30, (2, 3)).astype(float)
        P, Q = (np.linalg.qr(np.column_stack([x, rng.standard_normal((3, 2))]))[0] for x in (a, b))
        with pytest.raises(CertificateError):
            smallest(np.outer(a, b) * LEAST, P[:, :2], Q[:, :2])


def scalars(A: list[float], B: list[float], C: list[float]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(x).reshape(-1, 1, 1) for x in (A, B, C))


@pytest.mark.parametrize(
    ("A", "B", "C"),
    [
        ([0.0, 0.0], [0.1, 0.0], [0.0, 0.1]),  # the product with B is rounded
        ([0.0, 0.0], [1.5 * 2.0**-537, 0.0], [0.0, 1.5 * 2.0**-537]),  # and underflows
        # the product with A underflows, and is enlarged by B
        ([0.0, 1.5 * 2.0**-537, 0.0], [2.0**1000, 0.0, 0.0], [0.0, 0.0, 1.5 * 2.0**-537]),
    ],
)
def test_every_product_in_a_kernel_counts(A, B, C):
    K, off = kernel(*scalars(A, B, C))
    true = exact(C[-1]) * exact(B[0]) * (exact(A[1]) if len(A) == 3 else 1)
    error = abs(exact(K[-1, 0]) - true)
    assert 0 < error <= exact(off)


def head(M: list[list[float]], error: float, system: tuple | None = None, **norms) -> Head:
    """One scalar operator with its diagonal, and a cache or the system A, B, C."""
    array = np.array(M)
    L = len(array)
    A, B, C = system or (None,) * 3
    none = np.zeros((L - 1, 0)), np.zeros((1, 0)) if L == 2 else np.zeros((0, 0))
    forward = Direction(
        cut=1, U=none[0], V=np.zeros((1, 0)), cache=None if system else True, A=A, B=B, C=C
    )
    D = np.diag(array).reshape(L, 1, 1)
    return Head(M=array.reshape(L, 1, L, 1), error=error, D=D, forward=forward, **norms)


def refused(case: Head, relative: bool, radius: float) -> bool:
    try:
        case.proved(relative, radius)
    except CertificateError:
        return True
    return False


def test_the_radius_counts_in_an_error():
    assert refused(head([[1.0]], 0.5), False, 1.0)
    assert not refused(head([[1.0]], 1.5), False, 1.0)


def test_the_rounding_of_a_kernel_counts_in_an_error():
    """M is what floats make of the system, not what the system is."""
    system = scalars([0.0, 0.0], [0.1, 0.0], [0.0, 0.1])
    M = [[1.0, 0.0], [0.1 * 0.1, 1.0]]
    true = abs(exact(M[1][0]) - exact(0.1) ** 2)
    assert true > exact(1e-19)
    assert refused(head(M, 1e-19, system), False, 0.0)
    assert not refused(head(M, 1e-16, system), False, 0.0)


@pytest.mark.parametrize(
    ("low", "high", "v", "radius"),
    [
        (1 + 3e-10, 1.1, 1 + 4e-10, 0.0),  # the test vector is longer than 1
        (0.9, 1.6, 1.0, 0.5),  # all operators within the radius: from 0.5
        (0.4, 1.4, 1.0, 0.5),  # to 1.5
    ],
)
def test_bounds_of_a_norm_have_to_follow(low, high, v, radius):
    def case(low: float, high: float) -> Head:
        return head([[1.0]], radius, norm_low=low, norm_high=high, norm_v=np.full(1, v))

    with pytest.raises(CertificateError):
        case(low, high).norm_bounds(radius)
    fine = (1 - radius) * (1 - 1e-9), (1 + radius) * (1 + 1e-9)
    assert case(*fine).norm_bounds(radius) == fine


def test_squares_that_underflow_do_not_enlarge_a_norm():
    """x^2 lies between two multiples of the least float, and is rounded to the larger one."""
    x = 1.4 * 2.0**-537
    assert float(np.sqrt(x * x)) > 1.009 * x
    assert norm_lower(ONE * x, np.ones(1)) <= x
    case = head([[x]], 0.0, norm_low=1.009 * x, norm_high=1.1 * x, norm_v=np.ones(1))
    with pytest.raises(CertificateError):
        case.norm_bounds(0.0)


def test_a_norm_beside_a_large_one_does_not_underflow():
    x = 1.4 * 2.0**-545
    assert fro_each(np.array([[[1.0]], [[x]]]))[1] >= x


@pytest.mark.parametrize("x", [1.2 * 2.0**-537, 2.0**-600])
def test_the_norm_of_a_tiny_transition_does_not_underflow(x):
    assert transition_norms(np.full((1, 1, 1), x))[0] >= x


def test_the_norm_of_a_transition_is_rounded_up():
    """Row and column sums are products of roundings: (1 + 2^-53) (1 + 2^-53) is 1 in floats."""
    E = np.array([[[1.0, 2.0**-54, 2.0**-54], [2.0**-54, 0.0, 0.0], [2.0**-54, 0.0, 0.0]]])
    # of such a symmetric matrix the norm is (1 + sqrt(1 + 8 2^-108)) / 2 > 1
    assert transition_norms(E)[0] > 1.0
