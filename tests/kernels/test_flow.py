"""Flows of many small systems: closed forms, the numpy twin, and the same bits however split."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dsf import kernels
from dsf.core.errors import DomainError, DTypeError, KernelError, NonFiniteError, ShapeError
from dsf.kernels import compiled

X, Y, A, B = sympy.symbols("x y a b")
LOSS = (A * X * Y - B) ** 2 / 2 + X**2 / 20
RHS = {v: -LOSS.diff(v) for v in (X, Y)}


def drawn(N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-2, 2, (N, 2)), {A: rng.uniform(0.5, 2, N), B: rng.standard_normal(N)}


def flow(y0, p, t=(0, 0.2, 0.5), steps=7, backend="numba"):
    return kernels.gradient_flow(RHS, y0, t, p, steps=steps, backend=backend)


def same(y, z):
    return np.array_equal(y, z, equal_nan=True)


def alike(y, z):
    return y.shape == z.shape and np.allclose(y, z, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_closed_forms(backend):
    def run(rhs, y0, t, p=None):
        return kernels.gradient_flow(rhs, y0, t, p, steps=1000, backend=backend)

    rate, t = np.array([0.5, 1.0, 3.0]), [1.0, 1.5, 4.0, 0.0]  # from t = 1; backwards at last
    decay = run({X: -A * X}, np.ones((3, 1)), t, {A: rate})
    assert np.allclose(decay[..., 0], np.exp(-np.outer(np.array(t) - 1, rate)), rtol=1e-8)
    circle = run({X: -Y, Y: X}, [1.0, 0.0], [0, 2.0])
    assert circle.shape == (2, 2)
    assert np.allclose(circle[-1], [np.cos(2), np.sin(2)], rtol=1e-9)
    clock = run({Y: 1, X: 2 * Y}, [0.0, 0.0], [0, 3])  # time itself, as a variable
    assert np.allclose(clock[-1], [3, 9], rtol=1e-12)
    assert kernels.last_backend() == backend


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_of_order_four(backend):
    """Half the step, a sixteenth of the error."""
    errors = [
        abs(
            kernels.gradient_flow({X: X**2}, [0.5], [0, 1], steps=n, backend=backend)[-1, 0] - 1
        )  # x = 1 / (2 - t)
        for n in (8, 16, 32, 64)
    ]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(3.8 < order < 4.2 for order in orders)


@pytest.mark.parametrize("N", [0, 1, 2, 63, 64, 65, 130])
def test_numba_against_numpy(N):
    y0, p = drawn(N)
    y, z = flow(y0, p), flow(y0, p, backend="reference")
    assert alike(y, z) and y.shape == (3, N, 2) and np.array_equal(y[0], y0)


FUNCTIONS = (
    sympy.exp(-X) - sympy.tanh(Y), 1 / (1 + sympy.exp(-A * X)), sympy.sqrt(1 + X**2) - X**3 / 10,
    sympy.Max(X, Y) - X, sympy.Abs(X) * sympy.sign(Y), sympy.log(1 + X**2) * sympy.cos(Y),
    sympy.Piecewise((X, X > 0), (Y / 2, True)), sympy.erf(X) - sympy.atan(Y), sympy.Integer(1),
    sympy.Rational(1, 3) * X - sympy.pi * Y / 5, X ** sympy.Rational(1, 3) * 0 + Y,
)  # fmt: skip


@pytest.mark.parametrize("f", FUNCTIONS, ids=str)
def test_functions_of_sympy(f):
    y0, p = drawn(5)
    call = {X: f - X, Y: -Y}, y0, [0, 0.5], {A: p[A]}
    every = [kernels.gradient_flow(*call, steps=3, backend=b) for b in ("numba", "reference")]
    assert alike(*every) and np.isfinite(every[0]).all()


@given(st.integers(1, 200), st.lists(st.integers(0, 200), max_size=3), st.integers(0, 2**32 - 1))
def test_the_same_bits_for_every_split(N, cuts, seed):
    y0, p = drawn(N, seed)
    t = (0, 1, 3)  # long steps: some systems leave the range
    whole = flow(y0, p, t)
    ends = sorted({0, N, *(c for c in cuts if c < N)})
    parts = [flow(y0[a:b], {k: x[a:b] for k, x in p.items()}, t) for a, b in pairwise(ends)]
    assert same(np.concatenate(parts, 1), whole)
    order = np.random.default_rng(seed).permutation(N)  # another place, the same bits
    moved = flow(y0[order], {k: x[order] for k, x in p.items()}, t)
    assert same(moved, whole[:, order])


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(compiled, "SMALL", 0)
    y0, p = drawn(500)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("dsf.kernels.compiled.threads", lambda n=threads: n)
        found.append(flow(y0, p))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_batches_and_parameters_are_broadcast():
    y0, p = drawn(6)
    every = flow(y0.reshape(2, 3, 2), {A: p[A].reshape(2, 3), B: 0.5})
    assert every.shape == (3, 2, 3, 2)
    assert np.array_equal(every.reshape(3, 6, 2), flow(y0, {A: p[A], B: np.full(6, 0.5)}))
    one = flow(y0[0], {A: p[A], B: 0.5})  # one start, six systems
    assert one.shape == (3, 6, 2) and np.array_equal(one[:, 0], flow(y0[0], {A: p[A][0], B: 0.5}))


def test_arrays_of_any_kind_are_read_only():
    y0, p = drawn(5)
    whole = flow(y0, p)
    y0.flags.writeable = False
    assert np.array_equal(flow(np.asfortranarray(y0), p), whole)
    assert np.array_equal(flow(y0[::-1], {k: x[::-1] for k, x in p.items()})[:, ::-1], whole)
    assert flow(np.ones((5, 2), np.float32), p).dtype == np.float64
    assert np.array_equal(flow(np.ones((5, 2), int), p), flow(np.ones((5, 2)), p))


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_what_leaves_the_range_does_so_alone(backend):
    y = kernels.gradient_flow(
        {X: X**2}, [[1.0], [-1.0], [np.nan]], [0, 50], steps=99, backend=backend
    )
    assert not np.isfinite(y[-1, [0, 2]]).any() and np.isclose(y[-1, 1, 0], -1 / 51, rtol=1e-3)


def test_names_that_python_reserves():
    x, y = sympy.symbols("lambda f")
    found = kernels.gradient_flow({x: -x * y}, [1.0], [0, 1], {y: 2}, steps=50)
    assert np.isclose(found[-1, 0], np.exp(-2), rtol=1e-6)


def test_which_backend_ran():
    flow(*drawn(1), backend="auto")
    assert kernels.last_backend() == "numba"


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"rhs": {}}, DomainError, "must map each variable"),
        ({"rhs": [X]}, DomainError, "got list"),
        ({"rhs": {"x": X}}, DomainError, "must be symbols"),
        ({"rhs": {X: X * Y}}, DomainError, "y is neither a variable"),
        ({"rhs": {X: X * sympy.Symbol("x", real=True)}}, DomainError, "other assumptions"),
        ({"parameters": {X: 1}}, DomainError, "x is both"),
        ({"rhs": {X: sympy.Function("g")(X)}}, DomainError, "without a definition"),
        ({"y0": np.ones((3, 2))}, ShapeError, r"d = 1, the number of variables \(x\)"),
        ({"y0": 1.0}, ShapeError, "y0 must be"),
        ({"y0": np.ones((3, 1)), "parameters": {A: np.ones(2)}}, ShapeError, r"a \[2\]"),
        ({"t": 1.0}, ShapeError, "at least one time"),
        ({"t": []}, ShapeError, "at least one time"),
        ({"steps": 0}, ShapeError, "steps = 0"),
        ({"t": [0, np.inf]}, NonFiniteError, "t holds"),
        ({"y0": np.ones(1, complex)}, DTypeError, "real numbers"),
        ({"y0": ["1"]}, DTypeError, "y0 must hold"),
        ({"backend": "triton"}, KernelError, "triton"),
        ({"backend": "c"}, KernelError, "unknown"),
        ({"rhs": {X: sympy.besselj(0, X)}}, KernelError, "backend='reference'"),
    ],
)
def test_what_is_refused(changed, error, match):
    call = {"rhs": {X: -X}, "y0": np.ones(1), "t": [0, 1], "backend": "numba"} | changed
    with pytest.raises(error, match=match):
        kernels.gradient_flow(**call)


def test_tensors_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(DTypeError, match=r"x\.numpy\(\)"):
        kernels.gradient_flow({X: -X}, torch.ones(1), [0, 1])


def test_functions_that_only_the_reference_has():
    y = kernels.gradient_flow({X: sympy.besselj(0, X)}, [0.0], [0, 1e-3], backend="reference")
    assert np.isclose(y[-1, 0], 1e-3, rtol=1e-6)
