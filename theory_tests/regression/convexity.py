"""When softmax regression with weights is strongly convex."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.solvers.regression.formulas import hessian, reach
from dsf.theory_tests.protocol import judge

statement = (
    "If b has entries in [0, 1] and w_i^2 >= 1 + l / sigma_min(A)^2 for all i, the Hessian of "
    "|softmax(Ax) - b|^2 / 2 + |diag(w) A x|^2 / 2 is at least l everywhere; the 4 of the paper is "
    "more than needed.  Without weights the loss is not convex."
)
reference = "derived; deng2023 with 4 in the place of 1"
falsified_by = "a point where the Hessian has an eigenvalue below l"


def lowest(n: int, d: int, seed: int, modulus: float, spread: float = 1.0, constant: float = 1.0):
    """Smallest eigenvalue of the Hessian at a random point, with weights just large enough."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, d))
    b, x = rng.dirichlet(np.full(n, 0.3)), spread * rng.standard_normal(d)
    w2 = np.full(n, constant + modulus / np.linalg.svd(A, compute_uv=False)[-1] ** 2)
    return float(np.linalg.eigvalsh(hessian(A, b, w2, softmax(A @ x)))[0])


def claim(n: int = 8, d: int = 3, modulus: float = 0.5):
    """How far the Hessian falls below l over 200 points: not at all; and an indefinite one."""
    short = max(max(modulus - lowest(n, d, s, modulus), 0.0) for s in range(200))
    rng = np.random.default_rng(0)
    A, x, b = rng.normal(size=(6, 3)), rng.normal(size=3), rng.random(6)
    bare = np.linalg.eigvalsh(hessian(A, b / b.sum(), np.zeros(6), softmax(A @ x)))
    wanted = np.array([-0.11561522, -0.00534945, 0.08435430])
    return [(short, 0.0, 1e-12), (bare, wanted, 1e-8)]


def test_claim():
    assert judge(claim()).holds


@given(
    st.integers(0, 6), st.integers(1, 4), st.integers(0, 10**6), st.floats(0, 10),
    st.floats(0.01, 30),
)  # fmt: skip
def test_the_modulus(extra, d, seed, modulus, spread):
    assert lowest(d + extra, d, seed, modulus, spread) >= modulus * (1 - 1e-9) - 1e-10


def test_only_the_entries_of_b_matter_not_their_sum():
    assert reach(np.ones(4)) == reach(np.eye(4)[0]) == 1.0


def test_with_too_small_a_constant_it_fails():
    """0.2 is below the 0.2404 that n = 2 needs: A = I, f = (p, 1 - p), b = (0, 1)."""
    p = (15 + np.sqrt(33)) / 24
    H = hessian(np.eye(2), np.array([0.0, 1.0]), np.full(2, 0.2), np.array([p, 1 - p]))
    assert np.linalg.eigvalsh(H)[0] < -0.04
