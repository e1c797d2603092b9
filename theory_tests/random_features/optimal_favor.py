"""The parameter of favor++ with the least variance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers import optimal_favor_parameter, softmax_kernel_mse
from dsf.theory_tests.random_features.kernel_mse import points

statement = (
    "The error of favor++ in A < 1/8 is least at A = (1 - 2 rho - sqrt((2 rho + 1)^2 + 8 rho))/16 "
    "<= 0, rho = |x+y|^2/d; A = 0 is favor. So favor++ is never worse than favor."
)
reference = "likhosherstov2022; derived again"
falsified_by = "an A with a smaller error, or a derivative that is not zero there"


def claim():
    """d/dA of the log second moment over d at the optimum, in symbols: zero."""
    import sympy as sp

    A, rho = sp.symbols("A rho", positive=True)
    log_square = sp.log(1 - 4 * A) - sp.log(1 - 8 * A) / 2 + 2 * rho * (1 - 4 * A) / (1 - 8 * A)
    best = (1 - 2 * rho - sp.sqrt((2 * rho + 1) ** 2 + 8 * rho)) / 16
    slope = sp.simplify(sp.diff(log_square, A).subs(A, best))
    return float(slope != 0), 0.0, 0.0


def test_the_derivative_vanishes():
    computed, theory, _ = claim()
    assert computed == theory


@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.05, 1.5), st.floats(-2, 0.12))
def test_no_other_parameter_is_better(d, seed, size, A):
    x, y = points(d, seed, size)
    best = float(softmax_kernel_mse(x, y, 1, "favor++"))
    assert best <= float(softmax_kernel_mse(x, y, 1, "favor++", A=A)) * (1 + 1e-9)
    assert -np.inf < float(optimal_favor_parameter(x, y)) <= 0


def test_zero_is_favor():
    x, y = points(5, 1)
    np.testing.assert_allclose(
        softmax_kernel_mse(x, y, 3, "favor++", A=0.0), softmax_kernel_mse(x, y, 3), rtol=1e-13
    )
