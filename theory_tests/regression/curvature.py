"""The curvature of softmax regression: what is proved for all n, what is sharp at n = 2."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.solvers.regression.formulas import CONJECTURED, PROVED, curvature
from dsf.theory_tests.protocol import judge

statement = (
    "For f and b in the simplex the matrix B of the Hessian A'BA of |softmax(Ax) - b|^2 / 2 "
    "satisfies -1 <= B <= 5/4.  At n = 2 its range is -0.2404088 to 0.3081171, the extremes of "
    "4 p^2 (1 - p)(2 - 3p) at p = (15 +- sqrt 33)/24 with b at a vertex.  That this range holds "
    "for n > 2 is a conjecture, for which draws find no counterexample."
)
reference = "derived; deng2023 bounds the same matrix by -4 and 8"
falsified_by = (
    "f and b in the simplex with an eigenvalue of B outside [-1, 5/4], or a wider range at n = 2"
)


def dense(f: np.ndarray, b: np.ndarray) -> np.ndarray:
    """B [n n]."""
    delta, rho, q = curvature(f, b)
    return np.diag(delta) + rho * np.outer(f, f) - np.outer(q, f) - np.outer(f, q)


def claim():
    """The eigenvalue of B at n = 2 in free symbols, linear in b, and its extremes at a vertex."""
    import sympy as sp

    p, s = sp.symbols("p s", real=True)
    f, b = sp.Matrix([p, 1 - p]), sp.Matrix([s, 1 - s])
    c = f - b
    J = sp.diag(*f) - f * f.T
    B = J * J
    for k in (0, 1):
        e = sp.eye(2)[:, k]
        B += c[k] * f[k] * ((e - f) * (e - f).T - J)
    value = sp.expand((B[0, 0] - B[0, 1] - B[1, 0] + B[1, 1]) / 2)  # along (1, -1); B 1 = 0
    null = [sp.expand(x) for x in B * sp.ones(2, 1)]
    shape = sp.expand(value.subs(s, 0) - 4 * p**2 * (1 - p) * (2 - 3 * p))
    bends = sp.diff(value, s, 2)
    extremes = [float(value.subs({s: 0, p: (15 + sign * sp.sqrt(33)) / 24})) for sign in (1, -1)]
    flat = [sp.simplify(sp.diff(value.subs(s, 0), p).subs(p, (15 + k * sp.sqrt(33)) / 24)) for k in
            (1, -1)]  # fmt: skip
    zeros = [*null, shape, bends, *flat]
    return [
        (np.array([float(z != 0) for z in zeros]), np.zeros(len(zeros)), 0.0),
        (np.array(extremes), np.array(CONJECTURED), 1e-8),
    ]


def test_claim():
    assert judge(claim()).holds


@given(st.integers(1, 6), st.integers(0, 10**6), st.floats(0.1, 10))
def test_the_proved_range(n, seed, spread):
    rng = np.random.default_rng(seed)
    f, b = softmax(spread * rng.standard_normal(n)), rng.dirichlet(np.full(n, 1 / spread))
    e = np.linalg.eigvalsh(dense(f, b))
    assert PROVED[0] - 1e-14 <= e[0] and e[-1] <= PROVED[1] + 1e-14


def test_many_draws_do_not_leave_the_conjectured_range():
    """Vertices b are enough: B is linear in b.  Drawn near the extremes, n = 2 to 5."""
    rng = np.random.default_rng(0)
    low = high = 0.0
    for n in (2, 3, 4, 5):
        for f in rng.dirichlet(np.full(n, 0.7), 500):
            for b in np.eye(n):
                e = np.linalg.eigvalsh(dense(f, b))
                low, high = min(low, e[0]), max(high, e[-1])
    assert CONJECTURED[0] - 1e-8 <= low < -0.24 and 0.308 < high <= CONJECTURED[1] + 1e-8
