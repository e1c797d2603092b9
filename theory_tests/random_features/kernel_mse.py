"""Four random features of e^{x'y}: unbiased, with mean squared errors in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.mechanisms.linear.features import RANDOM
from dsf.solvers import (
    optimal_favor_parameter,
    random_directions,
    softmax_kernel_features,
    softmax_kernel_mse,
)
from dsf.solvers.random_features.quadrature import moments
from dsf.theory_tests import judge

statement = (
    "For m independent Gaussian directions each of trig, favor, hyperbolic and favor++ features "
    "has the mean e^{x'y}, and the mean squared error of the formula at softmax_kernel_mse."
)
reference = "choromanski2021, lemma 2; favor++: likhosherstov2022"
falsified_by = "a quadrature of either moment that differs by more than its rounding"


def points(d: int, seed: int, size: float = 0.35):
    """The pair x, y [d] of standard deviation `size`."""
    rng = np.random.default_rng(seed)
    return size * rng.standard_normal(d), size * rng.standard_normal(d)


def claim(kind: str = "favor", d: int = 8, seed: int = 0, size: float = 0.35):
    """Mean and mean squared error of one direction, by quadrature, over those of the formulas."""
    x, y = points(d, seed, size)
    A = float(optimal_favor_parameter(x, y)) if kind == "favor++" else 0.0
    mean, square = moments(x, y, kind, A)
    sm = np.exp(x @ y)
    error = float(softmax_kernel_mse(x, y, 1, kind))
    # the difference square - mean^2 loses digits where the error is small: relative to the square
    return [(mean / sm, 1.0, 1e-10), (square / (error + sm**2), 1.0, 1e-8)]


@pytest.mark.parametrize("kind", RANDOM)
@given(st.integers(1, 20), st.integers(0, 10**6), st.floats(0.0, 0.45))
def test_closed_form_is_quadrature(kind, d, seed, size):
    judgement = judge(claim(kind, d, seed, size))
    assert judgement.holds, "\n".join(judgement.lines)


# eight features at seed 0, d = 8, from closed forms computed elsewhere
KNOWN = {
    "favor": 0.2309179797, "hyperbolic": 0.0837998808, "trig": 0.2451787729,
    "favor++": 0.1559477216,
}  # fmt: skip


@pytest.mark.parametrize("kind", RANDOM)
def test_known_values(kind):
    x, y = points(8, 0)
    assert float(softmax_kernel_mse(x, y, 8, kind)) == pytest.approx(KNOWN[kind], abs=2e-10)


@pytest.mark.parametrize("kind", RANDOM)
def test_a_sample_agrees(kind):
    x, y = points(8, 0)
    A = float(optimal_favor_parameter(x, y)) if kind == "favor++" else 0.0
    omega = random_directions(8 * 50_000, 8, seed=3)
    phi, psi = (softmax_kernel_features(z, omega, kind, A=A) for z in (x, y))
    terms = phi * psi * len(omega)
    terms = terms.reshape(2, -1).sum(0) if kind in ("trig", "hyperbolic") else terms
    means = terms.reshape(-1, 8).mean(1)
    squares = (means - np.exp(x @ y)) ** 2
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - softmax_kernel_mse(x, y, 8, kind)) < 5 * error


def test_the_error_falls_like_one_over_m():
    x, y = points(4, 1)
    for kind in RANDOM:
        np.testing.assert_allclose(
            softmax_kernel_mse(x, y, 100, kind), softmax_kernel_mse(x, y, 1, kind) / 100
        )
