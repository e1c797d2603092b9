"""The margin as a distance: duality of the attention-SVM, in three norms."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.solvers import attention_svm
from dsf.solvers.svm.instances import draw, named
from dsf.theory_tests import judge

statement = (
    "1/|W| of the solution is the distance, in the dual norm, from the origin to the convex hull "
    "of the constraint matrices: min over the simplex of |sum u_j A_j|'."
)
reference = "convex duality; derived for the attention-SVM of tarzanagh2023"
falsified_by = "a point of the simplex whose combination is shorter than 1/|W|"

DUAL: dict[str, Callable] = {
    "frobenius": np.linalg.norm,
    "nuclear": lambda G: np.linalg.norm(G, 2),
    "entrywise": lambda G: np.sum(np.abs(G) ** 3) ** (1 / 3),  # p = 3/2, q = 3
}


def claim(name: str = "B", norm: str = "frobenius") -> list:
    """The multipliers over their sum are the closest point; random points are farther away."""
    i = named(name)
    p = 1.5 if norm == "entrywise" else None
    s = attention_svm(i.X, i.z, i.optimal, norm=norm, p=p)
    tolerance = 1e-12 if norm == "frobenius" else 1e-8
    u = s.multipliers / s.multipliers.sum()
    rng = np.random.default_rng(0)
    points = rng.dirichlet(np.full(s.problem.size, 0.3), 200)
    nearest = min(DUAL[norm](s.problem.combine(x)) for x in [*points, *(0.9 * u + 0.1 * points)])
    G = s.problem.combine(s.multipliers)
    m = s.problem.margins(s.W)
    return [
        (DUAL[norm](s.problem.combine(u)), s.margin, tolerance),
        (min(nearest, s.upper), s.upper, 0.0),
        (float(np.sum(G * s.W)) / float(DUAL[norm](G)), s.value, tolerance * s.value),  # aligned
        (s.multipliers * (m - 1.0), np.zeros(len(m)), 1e-6 * s.multipliers.max()),
        s.certificate,
    ]


@pytest.mark.solver
@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("name", "ABCE")
def test_distance_to_the_hull(name, norm):
    judgement = judge(claim(name, norm))
    assert judgement.holds, "\n".join(judgement.lines)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_point_of_the_simplex_bounds_the_margin(seed, point):
    i = draw(seed, 4, 4, 6)
    s = attention_svm(i.X, i.z, i.optimal)
    u = np.random.default_rng(point).dirichlet(np.full(s.problem.size, 0.5))
    assert np.linalg.norm(s.problem.combine(u)) >= s.lower
