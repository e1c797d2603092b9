"""Terms of the margin solvers and of their checker: without each of them an answer is wrong."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from dsf.solvers.svm import certify, nuclear
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.check import balls
from dsf.solvers.svm.next_token import priority_graph
from dsf.solvers.svm.problem import MarginProblem, scale


def test_ways_lead_through_the_first_token_too():
    """1 => 0 by the first context and 0 => 2 by the second, so 1 => 2 in the graph of token 3."""
    graph = priority_graph(4, [[0, 1, 3], [0, 2, 3]], [1, 0])
    place = graph.components[3]
    assert graph.above[3][place[1], place[0]] and graph.above[3][place[0], place[2]]
    assert graph.above[3][place[1], place[2]]


def test_a_margin_is_that_of_a_w_that_meets_the_equalities():
    """The row (0.2, 1) has the margin 0.2 where W_2 = 0; W = (1, 0.1) itself has 0.3."""
    problem = MarginProblem.of(
        [[0.2, 1.0], [0.0, 1.0]], [[1.0]], [0, 1], [-1, -1], [0, 0], [1.0, 0.0], [False, True]
    )
    rows = scale(problem)
    proved = certify.primal(problem, rows, np.array([[1.0], [0.1]]), "frobenius")
    assert np.ldexp(proved.lower, rows.exponent) <= 0.2


def test_a_poor_inverse_widens_the_distance_to_the_equalities(monkeypatch):
    """One row of length 1, missed by 1: the nearest W is at the distance 1, whatever R is."""
    inverse = np.linalg.inv
    rows = balls.Rows.consistent(
        np.array([[1.0]]), np.array([[1.0]]), np.array([0, 0]), np.array([-1, -1]),
        np.array([0, 0]), np.array([0.0, 1.0]), np.array([True, False]),
    )  # fmt: skip
    import flint

    for factor in (1.0, 0.9, 0.6):
        monkeypatch.setattr(np.linalg, "inv", lambda A, f=factor: f * inverse(A))
        assert balls.distance(rows, [flint.arb(1), flint.arb(0)]).upper() >= 1


def test_the_tail_of_the_rank_has_room_for_its_rounding():
    """1/L - 1/U cancels; what is left of it in floats may be too small."""
    rng = np.random.default_rng(0)
    for lower in rng.uniform(0.5, 2.0, 300):
        upper = float(np.nextafter(lower, 3.0))
        s = SimpleNamespace(lower=float(lower), upper=upper)
        k, tail = nuclear.rank_bound(s, np.diag([1.0, 0.5, 0.5]))
        exact = (1 / Fraction(float(lower)) - 1 / Fraction(upper)) / (1 - Fraction(1, 2))
        assert k == 1 and Fraction(tail) >= exact


@pytest.mark.solver
def test_multipliers_of_equalities_count_among_those_that_are_not_unique():
    """(1, 1) = (1, 0) + (0, 1): the second row can take over from the first with an equality."""
    problem = MarginProblem.of(
        [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [[1.0]], [0, 1, 2], [-1] * 3, [0] * 3,
        [1.0, 1.0, 0.0], [False, False, True],
    )  # fmt: skip
    assert solve(problem).multipliers_unique is False
