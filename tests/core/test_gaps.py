"""The world of gaps against its slow twin: both runs in balls, at single points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flint
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import dsf
from dsf.core import ops
from dsf.core.catalogue import families
from dsf.core.worlds import GAPS, Gap, as_gap, balls, elementwise, precision, world

pytestmark = pytest.mark.rigor

BITS = 300
POSITIVE = {"log", "sqrt"}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(ops, name)
        for name in (
            "exp expm1 log sqrt tanh sin cos sigmoid softplus logsigmoid absolute relu elu1 cis "
            "l2norm normalise softmax real conj"
        ).split()
    },
    "square": lambda x: x**2,
    "fifth power": lambda x: x**5,
    "inverse square": lambda x: x**-2,
    "zeroth power": lambda x: x**0,
    "negative": lambda x: -x,
    "plus": lambda x: 1 + x + x,
    "minus": lambda x: 1 - x - 3 * x,
    "times": lambda x: 2 * x * x * 3,
    "over": lambda x: 1 / x + x / 3 + x / (x * x + 1),
    "times pi": lambda x: x * ops.pi(x),
    "sum": lambda x: ops.asum(x, -1),
    "matrix": lambda x: ops.col(x) @ ops.row(x),
    "maximum": lambda x: ops.maximum(x[..., :1], x[..., 1:]),
    "choice": lambda x: ops.where_positive(x, x + 2, x * x),
    "angle": lambda x: ops.arctan2(x[..., :1], x[..., 1:]),
    "turned": lambda x: ops.real(ops.conj(ops.as_complex(x, 2 * x)) * ops.cis(x)),
    "complex": lambda x: ops.absolute(ops.exp(ops.as_complex(x, x)) / ops.as_complex(x, x + 1)),
    "complex root": lambda x: ops.real(ops.sqrt(ops.as_complex(x, x * x))),
    "complex log": lambda x: ops.real(ops.log(ops.as_complex(x, x + 1))),
}
reals = st.floats(-4, 4, allow_nan=False)


def pair(x: np.ndarray, y: np.ndarray, radius: float = 0.0) -> np.ndarray:
    """The gaps from x to y, where of the first no more is said than that it is so close to x."""
    return elementwise(Gap, balls(x, radius), balls(y) - balls(x))


def holds(gaps: Any, first: Any, second: Any) -> None:
    """The gaps enclose what the two runs gave; a difference may be enclosed by anything."""
    assert gaps.shape == first.shape == second.shape
    for g, p, q in zip(gaps.flat, first.flat, second.flat, strict=True):
        if g.x.is_finite():
            assert g.x.overlaps(p) if type(p) is type(g.x) else g.x.contains(flint.acb(p))
        if g.dx.is_finite():
            assert g.dx.overlaps(q - p)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(
    points=st.tuples(reals, reals),
    steps=st.tuples(reals, reals),
    scale=st.sampled_from([0, -1, -20, -60]),
    radius=st.sampled_from([0.0, 2.0**-30, 0.5, 8.0]),
    off=st.floats(-1, 1),
)
def test_every_rule_against_both_runs(name, points, steps, scale, radius, off):
    f = FUNCTIONS[name]
    x = np.array([points])
    if name in POSITIVE:
        x = np.abs(x) + 0.1
    with precision(BITS):
        y = balls(x) + balls(np.array([steps])) * flint.arb(2) ** scale
        if name in POSITIVE:
            y = elementwise(abs, y)
        # the ball of the first run lies around another point than the run itself
        middle = balls(x) + flint.arb(off) * flint.arb(radius) * 0.99
        around = elementwise(lambda m: m + flint.arb(0, radius), middle)
        gaps = f(elementwise(Gap, around, y - balls(x)))
        holds(np.asarray(gaps), np.asarray(f(balls(x))), np.asarray(f(y)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_small_difference_stays_small_where_the_number_is_hardly_known(name):
    x = np.array([[0.75, 1.5]])
    with precision(BITS):
        tiny = flint.arb(2) ** -100
        found = np.asarray(FUNCTIONS[name](elementwise(lambda e: Gap(e, tiny), balls(x, 0.25))))
        wild = name in ("choice", "complex log")  # which jump, at 0 and at the cut
        for g in found.flat:
            assert wild or (g.dx.is_finite() and abs(g.dx) < 1000 * tiny)


def test_equal_runs_have_no_gap():
    with precision(BITS):
        for name, f in FUNCTIONS.items():
            found = np.asarray(f(elementwise(as_gap, balls(np.array([[0.75, 1.5]]), 0.25))))
            assert name in ("l2norm", "normalise") or all(g.dx == 0 for g in found.flat), name


def test_what_is_undefined_in_one_run_is_not_enclosed():
    one, far = flint.arb(1), flint.arb(-2)  # 1 in the first run, -1 in the second
    with precision(BITS):
        for f in (ops.log, ops.sqrt, lambda x: 1 / (x + 1), lambda x: 1 / (x - 1)):
            g = f(np.array([Gap(one, far)], dtype=object))[0]
            assert not (g.x.is_finite() and g.dx.is_finite())
        undefined = Gap(flint.arb.nan(), flint.arb(0))
        for g in (undefined * 0, undefined + 1, undefined / 2, undefined**2):
            assert not g.x.is_finite()


def test_the_world_is_found_and_numbers_join_it():
    x = elementwise(as_gap, balls(np.ones((1, 2))))
    assert world(x) is GAPS and world(np.ones(2), x) is GAPS
    assert not ops.is_float(x) and not ops.is_complex(x)
    assert ops.is_complex(ops.as_complex(x, x))
    for y in (x + np.ones(2), 2.0 * x, np.array([1, 2]) * x, np.float64(3) * x, x / np.float64(3)):
        assert all(isinstance(e, Gap) for e in y.flat)
    assert (ops.zeros((2,), x)[0].x, ops.const(3, x)[()].x) == (0, 3)


@pytest.mark.parametrize("name", families())
@pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
def test_every_mechanism_against_both_runs(name):
    rng = np.random.default_rng(0)
    a = dsf.family(name).init(d=2, n=2, p=2, seed=1)
    b = a.map(lambda x: x + 2.0**-30 * rng.standard_normal(x.shape))
    u = rng.uniform(-1, 1, (4, 2))
    with precision(BITS):
        pairs = {k: pair(x, b.parameters()[k]) for k, x in a.parameters().items()}
        both, first, second = replace(a, **pairs), a.map(balls)(balls(u)), b.map(balls)(balls(u))
        thin = both(elementwise(as_gap, balls(u)))
        holds(thin, first, second)
        holds(both(elementwise(as_gap, balls(np.zeros((4, 2)), 1.0))), first, second)
        assert all(g.x.is_finite() and float(abs(g.dx).upper()) < 1e-4 for g in thin.flat)
        assert any(not g.dx.contains(0) for g in thin.flat)
