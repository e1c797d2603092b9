"""Softmax regression: formulas against slow twins, reference numbers, certificates, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.core.errors import (
    DomainError,
    DTypeError,
    EmptyProblemError,
    IllConditionedError,
    NonFiniteError,
    NotConvergedError,
    ShapeError,
)
from dsf.core.ops import softmax
from dsf.solvers import softmax_regression
from dsf.solvers.regression import formulas
from dsf.solvers.regression import softmax as module
from dsf.solvers.regression.formulas import curvature, hessian, hessian_times, point, reach

SIZES = (st.integers(1, 8), st.integers(1, 5), st.integers(0, 10**6))


def problem(n: int, d: int, seed: int):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.dirichlet(np.ones(n)), rng.standard_normal(d)


def full_curvature(f: np.ndarray, b: np.ndarray) -> np.ndarray:
    """B [n n] = J J + sum_k c_k Hess f_k, from the derivatives of softmax."""
    J = np.diag(f) - np.outer(f, f)
    B = J @ J
    for k, c in enumerate(f - b):
        e = np.eye(len(f))[k]
        B += c * f[k] * (np.outer(e - f, e - f) - J)
    return B


def twin(A, b, w, x):
    """Value and gradient by torch, second derivatives too: the formula as it stands."""
    torch = pytest.importorskip("torch")
    At, bt, wt = (torch.tensor(a, dtype=torch.float64) for a in (A, b, w))

    def loss(v):
        f = torch.softmax(At @ v, 0)
        return ((f - bt) ** 2).sum() / 2 + ((wt * (At @ v)) ** 2).sum() / 2

    xt = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = loss(xt)
    (g,) = torch.autograd.grad(value, xt)
    H = torch.autograd.functional.hessian(loss, xt.detach())
    return float(value.detach()), g.numpy(), H.numpy()


@settings(max_examples=30)
@given(*SIZES)
def test_derivatives_are_those_of_autograd(n, d, seed):
    A, b, x = problem(n, d, seed)
    w = np.random.default_rng(seed + 1).random(n)
    p = point(A, b, w**2, x)
    value, g, H = twin(A, b, w, x)
    assert p.value == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(p.gradient, g, atol=1e-11)
    np.testing.assert_allclose(hessian(A, b, w**2, p.f), H, atol=1e-10)
    np.testing.assert_allclose(hessian_times(A, b, w**2, p.f, x), H @ x, atol=1e-10)


@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.05, 20))
def test_the_decomposition_of_the_curvature(n, seed, spread):
    """B is symmetric, has B 1 = 0, and lies in the proved range; the conjectured one is seen."""
    rng = np.random.default_rng(seed)
    f, b = softmax(spread * rng.standard_normal(n)), rng.dirichlet(np.full(n, 1 / spread))
    delta, rho, q = curvature(f, b)
    B = np.diag(delta) + rho * np.outer(f, f) - np.outer(q, f) - np.outer(f, q)
    np.testing.assert_allclose(B, full_curvature(f, b), atol=1e-14)
    np.testing.assert_allclose(B @ np.ones(n), 0, atol=1e-14)
    e = np.linalg.eigvalsh(B)
    assert -reach(b) - 1e-14 <= e[0] and e[-1] <= formulas.PROVED[1] + 1e-14
    low, high = formulas.CONJECTURED
    assert low - 1e-8 <= e[0] and e[-1] <= high + 1e-8  # no counterexample among these


def test_blocks_of_rows_change_nothing(monkeypatch):
    A, b, x = problem(11, 3, 0)
    f = point(A, b, np.ones(11), x).f
    whole = hessian(A, b, np.ones(11), f)
    monkeypatch.setattr(formulas, "ROWS", 4)
    np.testing.assert_allclose(hessian(A, b, np.ones(11), f), whole, atol=1e-13)


def test_reference_indefinite():
    rng = np.random.default_rng(0)
    A, x, b = rng.normal(size=(6, 3)), rng.normal(size=3), rng.random(6)
    b /= b.sum()
    p = point(A, b, np.zeros(6), x)
    assert p.value == pytest.approx(0.16271135118730715, abs=1e-15)
    np.testing.assert_allclose(p.gradient, [0.23647248, 0.16643623, -0.08228499], atol=1e-8)
    e = np.linalg.eigvalsh(hessian(A, b, np.zeros(6), p.f))
    np.testing.assert_allclose(e, [-0.11561522, -0.00534945, 0.08435430], atol=1e-8)


def reference_newton():
    rng = np.random.default_rng(3)
    A = rng.normal(size=(20, 5))
    return A, softmax(A @ rng.normal(size=5)), np.ones(5)


def test_reference_newton():
    A, b, start = reference_newton()
    w2 = np.full(20, 0.36)
    x, norms, losses = start, [], []
    for _ in range(4):
        p = point(A, b, w2, x)
        losses.append(p.value)
        norms.append(np.linalg.norm(p.gradient))
        x = x - np.linalg.solve(hessian(A, b, w2, p.f), p.gradient)
    np.testing.assert_allclose(
        losses, [17.719941524079, 0.066657176387, 0.062776187014, 0.062776186674], rtol=1e-10
    )
    np.testing.assert_allclose(norms[:3], [17.49, 0.2115, 7.5e-5], rtol=1e-2)
    s = softmax_regression(A, b, 0.6, start=start, tolerance=1e-13)
    wanted = [-0.00374313, -0.00054798, -0.00364685, 0.00302414, -0.00403749]
    np.testing.assert_allclose(s.x, wanted, atol=1e-8)
    assert s.iterations == 4 and s.value == pytest.approx(losses[-1])
    assert s.bounds.kind == "stationary"  # 0.36 is below what is proved to be enough
    assert s.bounds.distance == np.inf and s.bounds.smallest_eigenvalue[0] > 4.02


def test_reference_descent():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(25, 20)) / np.sqrt(20)
    b, x, losses = softmax(A @ rng.normal(size=20)), np.zeros(20), []
    for _ in range(6):
        p = point(A, b, np.zeros(25), x)
        losses.append(p.value)
        x = x - 50 * p.gradient
    wanted = [0.0251043434516575, 0.019466068421902724, 0.013469219127128562, 0.003179367353451524]
    np.testing.assert_allclose(np.array(losses)[[0, 1, 2, 5]], wanted, rtol=1e-12)


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 10**6), st.floats(1.05, 12))
def test_the_distance_to_the_minimiser(n, d, seed, w):
    """Where the certificate names a minimiser, no other answer lies further than it allows."""
    A, b, x = problem(n + d, d, seed)
    rough = softmax_regression(A, b, w, start=x, tolerance=1e-2)
    fine = softmax_regression(A, b, w, tolerance=1e-12)
    assert rough.bounds.kind == fine.bounds.kind == "minimiser"
    gap = np.linalg.norm(rough.x - fine.x)
    assert gap <= rough.bounds.distance + fine.bounds.distance
    low, high = fine.bounds.smallest_eigenvalue
    assert fine.bounds.modulus <= low <= high
    assert fine.bounds.distance < 1e-8 and "minimiser" in str(fine.certificate)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_without_weights_the_answer_is_stationary(d, seed):
    A, b, x = problem(d + 4, d, seed)
    s = softmax_regression(A, b, start=0.1 * x, tolerance=1e-8)
    start = point(A, b, np.zeros(d + 4), 0.1 * x)
    assert s.gradient_norm <= 1e-8 and s.value <= start.value + 1e-15
    _, g, H = twin(A, b, np.zeros(d + 4), s.x)
    assert np.linalg.norm(g) <= 1e-8 + 1e-12
    low, high = s.bounds.smallest_eigenvalue
    assert low - 1e-12 <= np.linalg.eigvalsh(H)[0] <= high + 1e-12
    assert s.bounds.kind == "stationary" and s.bounds.modulus == 0


@pytest.mark.parametrize("w", [0.0, 0.3, 1.5])
def test_products_with_the_hessian_find_the_same(monkeypatch, w):
    A, b, x = problem(14, 4, 1)
    dense = softmax_regression(A, b, w, start=x, tolerance=1e-11)
    monkeypatch.setattr(module, "DENSE", 0)
    free = softmax_regression(A, b, w, start=x, tolerance=1e-11)
    assert free.gradient_norm <= 1e-11
    low, high = free.bounds.smallest_eigenvalue
    e = np.linalg.eigvalsh(hessian(A, b, np.full(14, w * w), softmax(A @ free.x)))[0]
    assert low <= e <= high + 1e-12 and "Rayleigh" in free.bounds.how
    if w:  # one minimum
        np.testing.assert_allclose(free.x, dense.x, atol=1e-9)


def test_smallest_sizes():
    one = softmax_regression([[2.0]], [1.0])
    assert (one.x.tolist(), one.value, one.iterations) == ([0.0], 0.0, 0)
    assert softmax_regression([[2.0]], [1.0], 2.0, start=[1.0]).x == pytest.approx(0, abs=1e-12)
    assert softmax_regression([[2.0]], [0.0]).value == 0.5  # one probability is 1, whatever x


def test_a_direction_that_softmax_does_not_see():
    """A x = 1 has a solution, so the Hessian is singular; the gradient has no part along it."""
    A = np.column_stack([np.ones(6), np.random.default_rng(2).standard_normal((6, 2))])
    s = softmax_regression(A, softmax(A @ np.array([3.0, 1.0, -1.0])))
    np.testing.assert_allclose(s.x[1:], [1, -1], atol=1e-6)
    assert s.bounds.smallest_eigenvalue[0] <= 0 <= s.bounds.smallest_eigenvalue[1]


def test_badly_scaled_columns_are_no_loss_of_rank():
    """Above 10^7 entries the rank is judged by A'A alone."""
    A = np.random.default_rng(0).standard_normal((10**7 // 4 + 1, 4))
    A[:, 0] *= 1e-5
    b = np.full(len(A), 1 / len(A))
    s = softmax_regression(A, b, 1.5, start=np.full(4, 0.1))
    assert s.gradient_norm < 1e-9 and s.bounds.kind == "stationary"
    A[:, 0] = A[:, 1]
    with pytest.raises(IllConditionedError, match="rank below"):
        softmax_regression(A, b, 1.5)


def test_huge_logits():
    s = softmax_regression(1e4 * np.eye(3), np.full(3, 1 / 3), start=[1.0, 0.5, 0.0])
    assert s.gradient_norm == 0 and s.bounds.kind == "stationary"  # saturated, not minimal


EYE, HALF = np.eye(2), np.full(2, 0.5)
BAD = {
    "no rows": (lambda: softmax_regression(np.ones((0, 2)), []), EmptyProblemError, "a row"),
    "no columns": (lambda: softmax_regression(np.ones((2, 0)), HALF), EmptyProblemError, "column"),
    "nan": (lambda: softmax_regression(EYE, [np.nan, 1]), NonFiniteError, r"`b`.*entry \(0,\)"),
    "inf": (lambda: softmax_regression(EYE * np.inf, HALF), NonFiniteError, "`A`"),
    "words": (lambda: softmax_regression(EYE, ["a", "b"]), DTypeError, "real numbers"),
    "lengths": (lambda: softmax_regression(EYE, np.ones(3)), ShapeError, r"got b \[3\]"),
    "weights": (lambda: softmax_regression(EYE, HALF, np.ones(3)), ShapeError, r"weights \[3\]"),
    "wide": (lambda: softmax_regression(np.ones((1, 2)), [1.0]), IllConditionedError, "1 rows"),
    "equal columns": (
        lambda: softmax_regression(np.ones((3, 2)), np.ones(3) / 3), IllConditionedError, "Drop",
    ),
    "overflow": (lambda: softmax_regression(EYE * 1e200, HALF), DomainError, "overflow"),
    "tolerance": (lambda: softmax_regression(EYE, HALF, tolerance=0), DomainError, "tolerance"),
    "no steps": (
        lambda: softmax_regression(EYE, HALF, 1.0, start=[1.0, 0.0], max_iterations=0),
        NotConvergedError, "after 0 steps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        call()
