"""How often the memory of a diagonal recurrence with positive eigenvalues changes its sign."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import separate
from dsf.verdicts.separations.tails import sign_changes

statement = (
    "An impulse response sum_i c_i l_i^t with n real eigenvalues l_i >= 0 changes its sign at most "
    "n - 1 times, and a readout with a constant at most n times; both are reached. The kernel of "
    "retention with rotation on a constant token is gamma^lag cos(theta lag): 12 changes in 40 "
    "lags for theta = 1, and more without end, so it is no gated linear attention. The parity of "
    "1^L alternates: n such states cannot show it by their sign once L >= n + 2."
)
reference = "sarrof2024; grazzi2024"
falsified_by = "A response of n non-negative real eigenvalues with n sign changes or more."


def rotated_kernel(theta: float, gamma: float, L: int) -> np.ndarray:
    """The response of retention with rotation to a single value, q = k = (1, 0) throughout."""
    q = np.tile([1.0, 0.0], (L, 1))
    v = [1.0] + [0.0] * (L - 1)
    gates = {"gamma": [gamma], "theta": [theta]}
    return run(dsf.retnet(rotation=True), q=q, k=q, v=v, **gates)[:, 0]


def with_changes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and weights of n states whose impulse response changes its sign n - 1 times.

    With u = r^t the response is a polynomial in u without constant term, u prod_j (u - u_j); its
    zeros are put between consecutive powers of r.
    """
    r = 0.5
    zeros = r ** (np.arange(n - 1) + 0.5)
    return r ** np.arange(n, 0, -1), np.atleast_1d(np.poly(zeros))


def with_constant(n: int) -> np.ndarray:
    """The same with n zeros and a constant: prod_j (u - u_j), which has n + 1 terms."""
    return np.prod(0.5 ** np.arange(n + 2)[:, None] - 0.5 ** (np.arange(n) + 0.5), axis=1)


def claim(theta: float = 1.0, gamma: float = 0.5, n: int = 4) -> list:
    """The rotated kernel, a response that reaches the bound, and the certificate."""
    lags = np.arange(40)
    kernel = rotated_kernel(theta, gamma, 40)
    rates, weights = with_changes(n)
    response = weights @ rates[:, None] ** np.arange(n + 1)
    outcomes: list = [
        (kernel, gamma**lags * np.cos(theta * lags), 1e-13),
        (sign_changes(response), n - 1, 0),
        (sign_changes(with_constant(n)), n, 0),
    ]
    if theta == 1.0:
        outcomes.append((sign_changes(kernel), 12, 0))
    return [*outcomes, separate(dsf.gla, dsf.retnet(rotation=True))[0]]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_claim_holds(n):
    assert judge(claim(n=n)).holds


def test_another_angle():
    assert judge(claim(theta=0.3, gamma=0.9)).holds


@given(st.integers(1, 6), st.booleans(), st.integers(0, 2**31))
def test_no_more_changes_than_states(n, constant, seed):
    rng = np.random.default_rng(seed)
    rates, weights = rng.uniform(0, 1, n), rng.standard_normal(n)
    s = weights @ rates[:, None] ** np.arange(40) + constant * rng.standard_normal()
    size = np.abs(weights) @ rates[:, None] ** np.arange(40) + constant
    s = np.where(np.abs(s) > 1e-12 * size, s, 0)  # rounding has no sign
    assert sign_changes(s) <= (n if constant else n - 1)


@given(st.integers(1, 4), st.integers(0, 2**31))
def test_defective_eigenvalues_obey_the_same_bound(n, seed):
    """One Jordan block: a polynomial of degree n - 1 times an exponential."""
    rng = np.random.default_rng(seed)
    t = np.arange(60)
    s = np.prod(t[:, None] - rng.uniform(0, 30, n - 1), axis=1) * 0.9**t
    assume(np.all(np.abs(s) > 1e-12))
    assert sign_changes(s) <= n - 1


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_the_parity_of_ones_cannot_be_read_by_sign(n, seed):
    """Constant token, n states, readout with a constant: some sign among n + 2 is wrong."""
    rng = np.random.default_rng(seed)
    rates, weights = rng.uniform(0, 1, n), rng.standard_normal(n)
    s = weights @ rates[:, None] ** np.arange(1, n + 3) + rng.standard_normal()
    parity = (-1.0) ** np.arange(1, n + 3)
    assert np.any(np.sign(s) != parity) and np.any(np.sign(s) != -parity)
