"""Plans: what is spent, that the greedy choice is optimal on hulls, and that its floor holds."""

from __future__ import annotations

from dataclasses import replace as replace_fields
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from networks import SelfAttention, tokens
from torch import nn

import dsf
from dsf.core.errors import (
    CertificateError,
    DomainError,
    NonFiniteError,
    ShapeError,
    UnknownNameError,
)
from dsf.models import Plan, plan, replace
from dsf.models.replacement.curves import Curve, curve, floors, hull, steps
from dsf.models.replacement.plan import least, spent

ERRORS = (0.3, 0.1, 0.03)


def network(heads=2):
    torch.manual_seed(0)
    return nn.Sequential(*(SelfAttention(heads=heads, how=how) for how in ("sdpa", "mask")))


def text(L=24):
    return 5 * tokens(B=1, L=L)


# ---------------------------------------------------------------------- hulls
points = st.lists(st.tuples(st.integers(0, 12), st.floats(0, 10)), min_size=1, max_size=8)


@example([(0, 5e-324), (2, 0.0)])  # a fall too small to be a float for each state
@given(points)
def test_the_hull_lies_below_all_points_and_falls_ever_less(drawn):
    corners = hull(drawn)
    assert set(corners) <= set(drawn)
    gains = [gain for gain, _ in steps(corners)]
    assert gains == sorted(gains, reverse=True) and all(g > 0 for g in gains)
    n, x = np.array(corners).T
    for k, y in drawn:
        assert np.interp(k, n, x) <= y + 1e-9 or k < n[0]


def curves_of(*falling):
    """Curves whose errors at 0, 1, 2, ... states are given, reached and needed alike."""
    return {("", h): Curve((), *[tuple(enumerate(e))] * 2) for h, e in enumerate(falling)}


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_no_plan_beats_the_floor_and_the_greedy_one_is_a_step_above_it(drawn, total):
    falling = [sorted(e, reverse=True) for e in drawn]
    curves = curves_of(*falling)
    states = spent(curves, total)
    assert sum(states.values()) <= total
    mine = sum(falling[h][n] ** 2 for (_, h), n in states.items())
    best = min(
        sum(falling[h][n] ** 2 for h, n in enumerate(ns))
        for ns in product(*(range(len(e)) for e in falling))
        if sum(ns) <= total
    )
    assert least(curves, total) - 1e-12 <= best <= mine + 1e-12
    corners = [hull([(n, x**2) for n, x in enumerate(e)]) for e in falling]
    step = max((gain * size for c in corners for gain, size in steps(c)), default=0.0)
    assert mine <= least(curves, total) + step + 1e-12


# ---------------------------------------------------------------------- one head
@pytest.mark.parametrize("causal", [True, False])
def test_a_curve_is_proved_on_both_sides(causal):
    M = np.random.default_rng(0).random((16, 16)) ** 4
    M = np.tril(M) if causal else M
    found = curve(M, ERRORS, 10.0)
    norm = np.linalg.norm(M, 2)
    floor = dict(floors(found.needed))
    for n, error in found.reached:
        p = found.proof(n)
        K = p.system.kernel()
        K = K if p.backward is None else K + np.flip(p.backward.kernel())
        true = np.linalg.norm(M - K, 2) / norm
        # of 0 states the least error is asked, of the others one that reaches what was asked
        asked = [true * 1.001] if n == 0 else [e for e in ERRORS if e >= true]
        assert true <= error <= min(asked)
        assert p.check() and floor.get(n, 0.0) ** 0.5 <= error
    for n, square in floor.items():
        best = dsf.realize(M, states=n)
        assert square**0.5 <= best.upper + 1e-12
    assert [n for n, _ in found.reached] == sorted(n for n, _ in found.reached)
    assert found.reached[-1][1] <= ERRORS[-1] and found.reached[0][0] == 0


# ---------------------------------------------------------------------- models
def test_a_plan_is_kept_and_its_errors_are_those_of_the_heads():
    model, x = network(), text()
    found = plan(model, x, total=14, rtol=ERRORS)
    assert found.spent <= 14 and found.check() and len(found.shares) == 4
    with replace(model, found) as run:
        model(x)
    assert [r.states for r in run.rows] == [s.states for s in found.shares]
    first = [r for r in run.rows if r.module == "0"]  # later layers see other inputs
    for r, s in zip(first, found.shares, strict=False):
        assert r.error == pytest.approx(s.error, rel=0.3)


def test_more_states_leave_less_and_the_floor_is_below():
    model, x = network(), text()
    none, few, many = plan(model, x, total=[0, 8, 400], rtol=ERRORS)
    assert none.spent == 0 and none.squares > few.squares > many.squares
    assert all(p.floor <= p.squares for p in (none, few, many)) and none.floor > few.floor > 0
    assert all(s.error <= ERRORS[-1] for s in many.shares)
    assert "no floor of it is proved" in repr(many) and "no plan of so many" in repr(few)
    # every head alike is one of the plans that the floor is about
    with replace(model, states=2) as run:
        model(x)
    assert few.floor <= sum(r.error**2 for r in run.rows if r.module == "0") + sum(
        s.error**2 for s in none.shares if s.module == "1"
    )


def test_it_survives_json_and_becomes_a_table():
    found = plan(network(), text(12), total=5, rtol=ERRORS)
    again = Plan.from_json(found.to_json())
    assert (again.shares, again.floor, again.squares) == (found.shares, found.floor, found.squares)
    assert repr(again) == repr(found) and again.check() and again.states == found.states
    first, *rest = found.shares
    for wrong in (
        {"shares": (replace_fields(first, states=first.states + 1), *rest)},
        {"shares": (replace_fields(first, error=0.0), *rest)},
        {"squares": found.squares / 2}, {"total": found.spent - 1}, {"shares": tuple(rest)},
    ):  # fmt: skip
        with pytest.raises(CertificateError):
            replace_fields(found, **wrong).check()
    assert sum(found.to_pandas()["states"]) == found.spent
    assert max(map(len, repr(found).splitlines())) <= 79 and "Nothing is proved of" in repr(found)


def test_bad_input():
    model, x = network(), text(6)
    for total in (-1, 1.5, []):
        with pytest.raises(DomainError, match="whole number"):
            plan(model, x, total=total)
    with pytest.raises(DomainError, match="no attention"):
        plan(nn.Linear(8, 8), x, total=3)
    with pytest.raises(UnknownNameError):
        plan(model, x, total=3, heads=[("9", 0)])
    with pytest.raises(ShapeError, match="sequence 4"):
        plan(model, x, total=3, sequence=4)
    with pytest.raises(NonFiniteError):
        plan(model, x * torch.nan, total=3)
    shared = SelfAttention()
    with pytest.raises(DomainError, match="called twice"):
        plan(nn.Sequential(shared, shared), x, total=3)
    assert plan(model, x, total=3, heads=[("1", 0)]).states.keys() == {("1", 0)}
