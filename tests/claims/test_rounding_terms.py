"""Terms of the rounding bounds of the checkers: without each of them a false bound would pass.

What is true is decided in exact arithmetic; the floats only have to be wrong enough.
"""

from __future__ import annotations

from fractions import Fraction

import flint
import numpy as np
import pytest

from dsf.claims.singular import U, at_most, kernel, smallest
from dsf.core.errors import CertificateError
from dsf.states.hankel import proved_singular_values
from dsf.states.rounding import norm_at_most


def lossy(q: int) -> tuple[np.ndarray, Fraction]:
    """A row of which floats lose most squares, and its exact squared length.

    1 + 2^-54 rounds to 1, so what is added behind the 1 is lost.
    """
    E = np.full((1, q), 2.0**-27)
    E[0, 0] = 1.0
    return E, 1 + (q - 1) * Fraction(1, 2**54)


@pytest.mark.parametrize("proves", [at_most, norm_at_most])
def test_the_rounding_of_a_gram_matrix_counts(proves):
    E, exact = lossy(2**20)
    square = float((E @ E.T)[0, 0]) * (1 + 100 * U)
    bound = float(np.sqrt(square))
    if Fraction(bound) ** 2 >= exact:
        pytest.skip("this machine adds more exactly")
    assert not proves(E, bound)
    assert proves(E, 1 + 1e-9) and Fraction(1 + 1e-9) ** 2 > exact


def rank_one(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An outer product of integers, which is exact, and two orthonormal directions each way."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-1000, 1000, (2, 3)).astype(float)
    P, Q = (np.linalg.qr(np.column_stack([x, rng.standard_normal((3, 2))]))[0] for x in (a, b))
    return np.outer(a, b), P[:, :2], Q[:, :2]


def test_what_a_product_of_matrices_loses_counts():
    """sigma_2 = 0: no positive lower bound follows, whatever remains of it in floats."""
    for seed in range(2000):
        H, P, Q = rank_one(seed)
        with pytest.raises(CertificateError):
            smallest(H, P, Q)
        assert proved_singular_values(H, P, Q)[1] == 0.0


def test_errors_of_earlier_steps_are_carried_on():
    """A product of L factors is off by more than one rounding, and so is its bound."""
    L = 1500
    a = np.random.default_rng(0).uniform(0.999, 1.001, L)
    A, B = a.reshape(L, 1, 1), np.ones((L, 1, 1))
    C = np.zeros((L, 1, 1))
    C[-1] = 1.0  # only the last output reads the state
    K, off = kernel(A, B, C)
    with flint.ctx.workprec(200):
        exact, errors = flint.arb(1), []
        for t in range(L - 2, -1, -1):
            exact = exact * flint.arb(float(a[t + 1])) if t < L - 2 else exact
            errors.append(float(flint.arb(float(K[-1, t])) - exact))
    assert np.linalg.norm(errors) <= off
    assert np.linalg.norm(errors) > 4 * U * np.sqrt(L)  # more than each step alone explains
