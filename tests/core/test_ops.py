"""Every function of dsf.ops in its four worlds."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import flint
import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dsf.core import ops, worlds
from dsf.core.errors import IllConditionedError

# name -> (the function on mpmath numbers, arguments it is tried on)
REAL = [-3.5, -1.0, -0.3, 1e-9, 0.0, 0.25, 1.0, 4.0]
POSITIVE = [1e-9, 0.25, 1.0, 4.0]
UNARY = {
    "exp": (mpmath.exp, REAL),
    "expm1": (mpmath.expm1, REAL),
    "log": (mpmath.log, POSITIVE),
    "sqrt": (mpmath.sqrt, POSITIVE),
    "tanh": (mpmath.tanh, REAL),
    "sin": (mpmath.sin, REAL),
    "cos": (mpmath.cos, REAL),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), REAL),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), REAL),
    "logsigmoid": (lambda x: -mpmath.log1p(mpmath.exp(-x)), REAL),
    "absolute": (abs, REAL),
    "relu": (lambda x: max(x, mpmath.mpf(0)), REAL),
    "elu1": (lambda x: x + 1 if x > 0 else mpmath.exp(x), REAL),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", UNARY)
def test_four_worlds(name):
    exact, points = UNARY[name]
    f, x = getattr(ops, name), np.array(points)
    with mpmath.workdps(40):
        want = [exact(mpmath.mpf(v)) for v in points]
    close = {"rtol": 4e-16, "atol": 1e-300}
    assert np.allclose(f(x), np.array(want, dtype=float), **close)
    assert np.allclose(f(torch.as_tensor(x)), np.array(want, dtype=float), **close)
    assert f(x.astype(np.float32)).dtype == np.float32
    letters = worlds.symbols(x, "x")
    values = dict(zip(letters, points, strict=True))
    assert np.allclose(worlds.evaluate(f(letters), values), np.array(want, dtype=float), **close)
    with worlds.precision(128), mpmath.workdps(40):
        for ball, value in zip(f(worlds.balls(x)), want, strict=True):
            middle = mpmath.mpf(ball.mid().str(45, radius=False))
            assert abs(middle - value) <= 1e-35
            assert ball.rad() < 1e-35


def test_a_float_equation_imports_no_other_world():
    code = (
        "import sys, numpy as np, dsf; mech = dsf.gla.init(d=2); str(mech.ltv(np.ones((3, 2))))\n"
        "dsf.ops.softmax(np.ones(3)), dsf.ops.arctan2(np.ones(2), 1), dsf.ops.pi(np.ones(2))\n"
        "print([m for m in ('torch', 'sympy', 'flint', 'mpmath') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("[]\n", 0), found.stderr


def test_arctan2_in_four_worlds():
    y, x = np.array([0.5, -0.5, 1.0, -2.0]), np.array([0.25, -3.0, -1.0, 0.125])
    want = np.arctan2(y, x)
    assert np.array_equal(ops.arctan2(y, x), want)
    assert np.allclose(ops.arctan2(torch.as_tensor(y), torch.as_tensor(x)), want, rtol=1e-15)
    b, a = worlds.symbols(y, "b"), worlds.symbols(x, "a")
    values = dict(zip([*b, *a], [*y, *x], strict=True))
    assert np.allclose(worlds.evaluate(ops.arctan2(b, a), values), want, rtol=1e-15)
    enclosed = ops.arctan2(worlds.balls(y), worlds.balls(x))
    assert np.allclose(worlds.midpoints(enclosed), want, rtol=1e-15)
    assert worlds.radii(enclosed).max() < 1e-14


def test_pi_in_four_worlds():
    x = np.ones(2, dtype=np.float32)
    assert ops.pi(x).dtype == np.float32 and ops.pi(x) == np.float32(np.pi)
    assert ops.pi(torch.ones(1, dtype=torch.float64)).item() == np.pi
    assert ops.pi(worlds.symbols(x))[()] == sympy.pi
    assert ops.pi(worlds.balls(x))[()].contains(flint.arb.pi())


@pytest.mark.parametrize("name", [k for k in UNARY if k not in ("log", "sqrt")])
@given(mid=st.floats(-2, 2), radius=st.floats(0, 2), place=st.floats(-1, 1))
def test_balls_contain_the_image_of_every_point(name, mid, radius, place):
    f, x = getattr(ops, name), mid + place * radius
    assume(abs(Fraction(x) - Fraction(mid)) <= Fraction(radius))
    with worlds.precision(64):
        wide = f(worlds.balls(np.array([mid]), radius))[0]
    assert wide.overlaps(thin(f, np.array([x]))[0])


def thin(f, x):
    """f at exact points, in balls so thin that overlapping one is containing the value."""
    with worlds.precision(400):
        return f(worlds.balls(x))


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=2), st.floats(0, 1), st.floats(-1, 1))
def test_maxima_norms_and_branches_of_balls(x, radius, place):
    x = np.array(x)
    inner = x + np.array([place, -place / 2]) * radius
    moved = [abs(Fraction(a) - Fraction(b)) for a, b in zip(inner, x, strict=True)]
    assume(max(moved) <= Fraction(radius))
    wide, zero = worlds.balls(x, radius), worlds.balls(np.zeros(2))
    for f in (
        lambda v: ops.maximum(v, zero),
        lambda v: ops.where_positive(v, 2 * v, -v),
        ops.l2norm,
        lambda v: ops.softmax(v),
        lambda v: ops.asum(v * v),
    ):
        for a, b in zip(f(wide), thin(f, inner), strict=True):
            assert a.overlaps(b) or not a.is_finite()


def test_numpys_maximum_would_be_unsound():
    """The reason for ops.maximum: numpy asks "is x >= 0?", hears no, and the upper half is lost."""
    straddling, zero = worlds.balls(np.zeros(1), 1.0), worlds.balls(np.zeros(1))
    assert ops.maximum(straddling, zero)[0].contains(1)
    assert not np.maximum(straddling, zero)[0].contains(1)


@pytest.mark.parametrize("x", [1000.0, -1000.0, 1e300, -1e300, np.inf, -np.inf])
def test_extreme_arguments_keep_their_limits(x):
    for world in (np.array([x]), torch.tensor([x], dtype=torch.float64)):
        found = [float(f(world)[0]) for f in (ops.sigmoid, ops.softplus, ops.logsigmoid, ops.elu1)]
        assert found == [float(x > 0), max(x, 0), min(x, 0), max(x + 1, 0)]
        assert ops.relu(world)[0] == max(x, 0)


def test_exact_worlds_stay_exact():
    x = worlds.symbols(np.zeros(2), "x")
    third = ops.const(Fraction(1, 3), x)
    for y in (third * x, ops.pi(x) * x, ops.zeros((2,), x) + x, ops.eye(2, x) @ x, ops.sqrt(x / 2)):
        assert not any(sympy.sympify(e).has(sympy.Float) for e in np.ravel(y))
    assert third * 3 == 1
    with worlds.precision(200):
        b = worlds.balls(np.zeros(1))
        assert (3 * ops.const(Fraction(1, 3), b)[()]).overlaps(flint.arb(1))
        assert ops.pi(b)[()].rad() < 1e-58
    t = torch.zeros(1, dtype=torch.float32)
    assert ops.const(Fraction(1, 3), t).dtype == torch.float32
    assert ops.const(2, np.zeros(1, dtype=np.longdouble)).dtype == np.longdouble


# ------------------------------------------------------------------------ arrays
@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor, lambda x: worlds.balls(x)])
def test_shapes(of):
    a, b = of(np.arange(6.0).reshape(2, 1, 3)), of(np.ones((4, 3)))
    assert tuple(ops.cat([a, b], -2).shape) == (2, 5, 3)
    assert tuple(ops.stack([a[0], b], -2).shape) == (4, 2, 3)
    assert tuple(ops.row(b).shape) == (4, 1, 3)
    assert tuple(ops.col(b).shape) == (4, 3, 1)
    assert tuple(ops.mT(a).shape) == (2, 3, 1)
    assert tuple(ops.asum(b).shape) == (4, 1)
    assert tuple(ops.asum(b, -2, keepdims=False).shape) == (3,)
    assert tuple(ops.moveaxis(a, 0, -1).shape) == (1, 3, 2)
    assert tuple(ops.broadcast_to(a, (2, 4, 3)).shape) == (2, 4, 3)
    assert tuple(ops.zeros((0, 2), a).shape) == (0, 2)
    assert float(ops.cumsum(b, -2)[-1, 0]) == 4
    assert float(ops.ones_like(a)[0, 0, 0] + ops.zeros_like(a)[0, 0, 0]) == 1


def test_complex_numbers():
    x, y = np.array([0.3, -1.2]), np.array([0.7, 0.1])
    want = x + 1j * y
    for to, back in ((np.asarray, np.asarray), (torch.as_tensor, lambda z: z.numpy())):
        z = ops.as_complex(to(x), to(y))
        assert np.allclose(back(z), want, rtol=1e-15)
        assert np.allclose(back(ops.conj(z) * 1), want.conj(), rtol=1e-15)
        assert np.array_equal(back(ops.real(z)), x)
        assert np.allclose(back(ops.cis(to(x))), np.exp(1j * x), rtol=1e-15)
    b = ops.as_complex(worlds.balls(x), worlds.balls(y))
    assert all(isinstance(e, flint.acb) for e in b)
    assert worlds.contains(ops.real(b), x).all()
    assert worlds.contains(ops.real(ops.conj(b) * b), np.abs(want) ** 2).all()
    s = worlds.symbols(x, "x")
    assert sympy.simplify(ops.real(ops.cis(s))[0] - sympy.cos(s[0])) == 0
    assert ops.conj(ops.as_complex(s, s))[0] == s[0] - sympy.I * s[0]


def test_unit_vectors():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [3e-300, 4e-300], [3e300, 4e300]])
    want = [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8]]
    for world in (x, torch.as_tensor(x)):
        assert np.allclose(ops.normalise(world), want, rtol=1e-15)
    assert ops.normalise(x[:2].astype(np.float32)).dtype == np.float32


def test_softmax_is_shift_invariant_and_sums_to_one():
    x = np.random.default_rng(0).standard_normal((5, 7)) * 3
    w = ops.softmax(x)
    assert np.allclose(w.sum(-1), 1, rtol=1e-15)
    assert np.allclose(ops.softmax(x + 500), w, rtol=1e-12)
    assert np.allclose(ops.softmax(torch.as_tensor(x)), w, rtol=1e-15)
    assert np.abs(worlds.midpoints(ops.softmax(worlds.balls(x))) - w).max() < 1e-15
    assert ops.softmax(np.zeros((2, 0))).shape == (2, 0)
    assert ops.softmax(torch.zeros(2, 0)).shape == (2, 0)


def test_world_is_decided_by_the_first_argument_that_decides():
    x, s = np.ones(1), worlds.symbols(np.ones(1))
    assert ops.world(x, s) is worlds.SYMPY
    assert ops.world(x, worlds.balls(x)) is worlds.ARB
    assert ops.world(torch.ones(1), s) is worlds.TORCH
    assert ops.world(x, 3, [1.0]) is worlds.NUMPY
    assert ops.is_float(x, torch.ones(1))


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("x", [-40.0, -1.0, -1e-3, -1e-9, -1e-30, 0.0, 1e-9, 2.0])
def test_the_quotient_of_a_held_input_at_and_near_zero(kind, x):
    """(e^x - 1)/x: 1 at 0, without a warning, and every digit near 0."""
    value = kind(x)
    with mpmath.workdps(40):
        exact = mpmath.expm1(mpmath.mpf(float(value))) / mpmath.mpf(float(value)) if x else 1
    for a in (np.array([value]), torch.as_tensor(np.array([value]))):
        found = ops.expm1_over(a)
        assert found.dtype == a.dtype
        assert float(found[0]) == pytest.approx(float(exact), rel=8 * float(np.finfo(kind).eps))
    t = torch.tensor([x, 1.0], requires_grad=True)
    assert torch.autograd.grad(ops.expm1_over(t).sum(), t)[0].isfinite().all()


@pytest.mark.parametrize("f", [ops.sigmoid, ops.softplus])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_arrays_are_taken_in_pieces_with_the_same_result(f, dtype):
    x = np.random.default_rng(0).normal(0, 20, (3, 2, 20011)).astype(dtype)
    whole = f(x)
    assert whole.dtype == dtype and whole.shape == x.shape
    for part, found in ((x[:, :1], whole[:, :1]), (x[:, :, ::2], whole[:, :, ::2])):
        assert np.allclose(f(part), found, rtol=4 * np.finfo(dtype).eps, atol=0)


# ------------------------------------------------------------------ positive definite systems
@given(st.integers(0, 4), st.integers(0, 3), st.integers(0, 10**6))
def test_every_world_solves_the_same_systems(n, m, seed):
    rng = np.random.default_rng(seed)
    root, b = rng.standard_normal((2, n, n)), rng.standard_normal((2, n, m))
    A = root @ root.mT + np.eye(n)
    want = np.linalg.solve(A, b)
    close = {"rtol": 1e-9, "atol": 1e-12}
    assert np.allclose(ops.solve(A, b), want, **close)
    assert np.allclose(ops.solve(torch.as_tensor(A), torch.as_tensor(b)), want, **close)
    long = ops.solve(A.astype(np.longdouble), b.astype(np.longdouble))
    assert long.dtype == np.longdouble and np.allclose(long.astype(float), want, **close)
    with worlds.precision(128):
        if n and m:
            found = ops.solve(worlds.balls(A), worlds.balls(b))
            assert np.allclose(worlds.midpoints(found), want, **close)
            assert worlds.radii(found).max() < 1e-25


def test_symbols_solve_exactly():
    a, b, c, x, y = sympy.symbols("a b c x y", positive=True)
    A = np.array([[a, b], [b, c]], dtype=object)
    found = ops.solve(A, np.array([[x], [y]], dtype=object))
    assert [sympy.simplify(e) for e in (A @ found - np.array([[x], [y]])).flat] == [0, 0]


def test_gaps_solve_both_runs():
    A = np.array([[2.0, 1.0], [1.0, 3.0]])
    with worlds.precision(128):
        two = worlds.elementwise(lambda x, dx: worlds.Gap(flint.arb(x), flint.arb(dx)), A, 1e-3 * A)
        found = ops.solve(two, worlds.elementwise(worlds.as_gap, np.array([[1], [1]])))
        first = [float(e.x.mid()) for e in found.flat]
        assert np.allclose(first, [0.4, 0.2], rtol=1e-14)
        assert np.allclose([float(e.second.mid()) for e in found.flat], [0.4 / 1.001, 0.2 / 1.001])


def test_balls_that_may_be_singular_give_nothing():
    with worlds.precision(53):
        A = worlds.balls(np.eye(2), 1.5)
        assert not any(e.is_finite() for e in ops.solve(A, worlds.balls(np.ones((2, 1)))).flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_singular_matrices_are_refused_in_their_precision(dtype):
    eps = np.finfo(dtype).eps
    good, bad = (np.diag([1, 10 * eps]).astype(dtype), np.diag([1, eps]).astype(dtype))
    assert np.isfinite(ops.solve(good, np.ones((2, 1), dtype))).all()
    for kind in (np.asarray, torch.as_tensor):
        with pytest.raises(IllConditionedError, match=r"matrix at \(1,\) has eigenvalues"):
            ops.solve(kind(np.stack([good, bad])), kind(np.ones((2, 2, 1), dtype)))
    with np.errstate(invalid="ignore"):  # what is not finite goes on as it is
        assert np.isnan(ops.solve(np.full((1, 1), np.nan, dtype), np.ones((1, 1), dtype))).all()


@given(st.integers(1, 6), st.integers(0, 10**6), st.floats(-800, 800))
def test_logsumexp_of_the_seen(n, seed, shift):
    rng = np.random.default_rng(seed)
    x, mask = rng.standard_normal((2, n)), rng.random((2, n)) < 0.5
    mask[:, 0] = True
    want = np.log(np.where(mask, np.exp(x), 0).sum(-1, keepdims=True)) + shift
    for kind in (np.asarray, torch.as_tensor):
        assert np.allclose(ops.logsumexp(kind(x + shift), mask), want, rtol=1e-12, atol=1e-12)
    letters = worlds.symbols(x, "x")
    values = dict(zip(letters.flat, x.flat, strict=True))
    assert np.allclose(worlds.evaluate(ops.logsumexp(letters, mask), values) + shift, want)


@pytest.mark.parametrize("L", [0, 1, ops.MANY - 1, ops.MANY, ops.MANY + 1])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_one_wide_product_is_that_of_every_head(L, lead):
    rng = np.random.default_rng(0)
    u, W = rng.standard_normal((*lead, L, 5)), rng.standard_normal((3, 5, 2))
    each = np.stack([u @ w for w in W], -3)
    assert np.allclose(ops.project(u, W), each, rtol=1e-13, atol=1e-14)
    tensor = ops.project(torch.from_numpy(u), torch.from_numpy(W))
    assert np.allclose(tensor.numpy(), each, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_pieces_follow_the_memory(axes):
    """As parts of the model's width they are views of rows: the heads lie behind the tokens."""
    x = np.random.default_rng(0).standard_normal((60, 50, 40)).transpose(axes)
    found = ops.sigmoid(x)
    assert found.shape == x.shape and found.strides == x.strides
    assert np.allclose(found, 1 / (1 + np.exp(-x)), rtol=1e-14)
    gaps = np.repeat(x, 2, 0)[::2]  # memory between entries
    assert np.allclose(ops.sigmoid(gaps), found, rtol=1e-14)
