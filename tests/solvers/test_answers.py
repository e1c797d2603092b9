"""What the answers of margin problems say about themselves: active rows, uniqueness, texts."""

from __future__ import annotations

import json
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dsf.core import errors
from dsf.solvers import (
    attention_svm,
    enumerate_selections,
    gen_svm,
    graph_finite,
    local_optimality,
    prompt_svm,
)
from dsf.solvers.svm import next_token
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.equalities import independent, least_norm
from dsf.solvers.svm.instances import draw, named
from dsf.solvers.svm.problem import MarginProblem
from dsf.solvers.svm.solution import MarginSolution

SIZES = [[-6e6, -7e6], [4e-4, 5e-4]]  # lengths differ by 1e10: the gap depends on rounding


def equations(keys):
    """Equalities <key_j, w> = target_j on a column w."""
    keys = np.atleast_2d(np.asarray(keys, dtype=float))
    n = len(keys)
    return MarginProblem(
        keys, np.ones((1, 1)), np.arange(n), np.full(n, -1), np.zeros(n, dtype=int), np.zeros(n),
        np.ones(n, dtype=bool),
    )  # fmt: skip


# ----------------------------------------------------------------- active rows
def test_some_row_is_always_active():
    """Rows within the proved gap of equality count as met, however large that gap is."""
    X = [[row, [0, 0]] for row in SIZES]
    s = attention_svm(X, [[1.0], [1.0]], [0, 0])
    assert s.gap < 1e-2 and s.active.any()
    assert f"gap {s.gap:.1e}" in repr(s) and s.check()
    loose = replace(s, W=(1 + 3e-4) * s.W, lower=s.lower / (1 + 3e-4))
    assert loose.gap >= 2.9e-4 and loose.active.any()
    assert s.problem.rows(np.zeros(2, dtype=bool)).matrix().shape == (0, 2)


@given(st.integers(0, 10**6), st.integers(-250, 250))
def test_active_rows_do_not_depend_on_units(seed, k):
    i = draw(seed, 2, 4, 4)
    s, t = attention_svm(i.X, i.z, i.optimal), attention_svm(np.ldexp(i.X, k), i.z, i.optimal)
    if s.feasible:
        assert np.array_equal(s.active, t.active) and s.multipliers_unique == t.multipliers_unique


def test_rows_with_bound_0_are_active_by_their_size():
    """Rows x >= 1, 1e-7 (x + y) >= 0, y >= x: W = (1, 1) exceeds the second, short one."""
    X = [[[1.0, 0.0], [0.0, 0.0]], [[1e-7, 1e-7], [0.0, 0.0]], [[-1.0, 1.0], [0.0, 0.0]]]
    s = prompt_svm(X, [0, 0, 0], strict=np.array([True, False, False]))
    assert np.allclose(s.W[:, 0], 1.0) and s.active.tolist() == [True, False, True]
    long = prompt_svm(
        np.array(X) * [[[1]], [[1e14]], [[1e14]]], [0, 0, 0], strict=s.problem.bound > 0
    )
    assert long.active.tolist() == [True, False, True]


# ------------------------------------------------------------------ uniqueness
def test_dependent_active_rows_may_have_unique_multipliers():
    s = attention_svm([[[0, 0], [-1, 0], [-1, -1], [-1, -2.0]]], [[1.0]], [0])
    assert np.allclose(s.multipliers, [1, 0, 0]) and s.active.all()
    assert s.multipliers_unique is True and "not unique" not in repr(s)
    # with a row on the other side of the second axis: (1, 1)/2 + (1, -1)/2 = (1, 0)
    s = attention_svm([[[0, 0], [-1, 0], [-1, -1], [-1, 1.0]]], [[1.0]], [0])
    assert s.multipliers_unique is False and "not unique" in repr(s)


def test_equalities_have_multipliers_too():
    """x + y >= 1, x - y >= 1, y = 0: (1, 0) = a (1, 1) + (1 - a) (1, -1) + (1 - 2a) (0, 1)."""
    rows = np.array([[1, 1], [1, -1], [0, 1]])
    problem = MarginProblem.of(
        rows, [[1.0]], [0, 1, 2], -1, [0, 0, 0], [1, 1, 0], [False, False, True]
    )
    for a in (0, 1):
        assert np.array_equal([a, 1 - a, 1 - 2 * a] @ rows, [1, 0])
    s = solve(problem, title="two multipliers", reference="")
    assert np.allclose(s.W[:, 0], [1, 0]) and s.active.tolist() == [True, True, False]
    assert s.multipliers_unique is False and "not unique" in repr(s)
    s = solve(problem.rows([0, 2]), title="one multiplier", reference="")
    assert np.allclose(s.W[:, 0], [1, 0]) and s.multipliers_unique is True


@given(st.integers(0, 10**6))
def test_unique_multipliers_against_a_linear_program(seed):
    """The largest and the smallest lam_j over {lam >= 0 on active rows: A'lam = W}, for every j."""
    from scipy.optimize import linprog

    rng = np.random.default_rng(seed)
    X = np.concatenate([np.zeros((1, 1, 2)), -rng.integers(-1, 3, (1, 6, 2))], axis=1)
    s = attention_svm(X, [[1.0]], [0])
    if not s.feasible:
        return
    A = s.problem.rows(s.active).matrix()
    spread = 0.0
    for j in range(len(A)):
        c = np.eye(len(A))[j]
        low, high = (linprog(x, A_eq=A.T, b_eq=s.W.ravel(), bounds=(0, None)) for x in (c, -c))
        if low.status == high.status == 0:
            spread = max(spread, -high.fun - low.fun)
    assert s.multipliers_unique is bool(spread < 1e-6)


@pytest.mark.solver
def test_a_point_cut_out_by_an_idle_row_is_not_called_a_set():
    """Rows (1, a) W (1, b)': diag(1, 0) is the only solution, the third multiplier may be 0."""
    X = [[[1.0, a], [0.0, 0.0]] for a in (1, -1, 0.5)]
    z = [[1.0, b] for b in (1, -1, -0.5)]
    for solver in ("SCS", "CLARABEL"):
        s = attention_svm(X, z, [0] * 3, norm="nuclear", solvers=[solver])
        assert np.allclose(s.W, np.diag([1.0, 0.0]), atol=1e-3)
        assert s.unique is not False and "not unique" not in repr(s)


@pytest.mark.solver
@pytest.mark.parametrize("solver", ["SCS", "CLARABEL"])
def test_a_second_nuclear_solution_is_shown(solver):
    """W_jj = 1 for j < 3: every such W >= 0 is a solution, in any orthonormal bases."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        U, V = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(2))
        X = np.zeros((3, 2, 3))
        X[:, 0] = U.T
        s = attention_svm(X, V.T, [0] * 3, norm="nuclear", solvers=[solver])
        assert s.unique is False and "`.other`" in repr(s)
        other = s.other / s.problem.margins(s.other).min()
        norm = np.linalg.svd(other, compute_uv=False).sum()
        assert abs(norm / s.value - 1) < 1e-6
        assert np.linalg.norm(other - s.W) > 1e-2 * s.value


# ------------------------------------------------------------------- zero rows
def test_rows_left_out_keep_their_place():
    """A sample that is not strict, with a duplicate of its chosen token: 0 >= 0."""
    X = [[[1.0, 1], [1, 1], [0.0, 1]], [[1.0, 0], [0, 0], [0, 0.5]]]
    s = prompt_svm(X, [0, 0], strict=np.array([False, True]))
    assert s.problem.size == 4 and s.multipliers.shape == (4,) and s.multipliers[0] == 0.0
    assert np.allclose(s.problem.combine(s.multipliers), s.W, atol=1e-12)
    assert "4 constraints" in s.certificate.claim and s.check() and s.slack.shape == (4,)
    assert s.multipliers_unique is True and "4 constraints" in repr(s)
    X[1] = [[1.0, 0], [0, 0], [2.0, 0]]  # x >= 1 and -x >= 1
    s = prompt_svm(X, [0, 0], strict=np.array([False, True]))
    assert s.feasible is False and s.gordan[0].tolist() == [2, 3] and s.check()


@pytest.mark.solver
@pytest.mark.parametrize("norm", ["frobenius", "nuclear"])
def test_an_equality_0_is_0_says_nothing(norm):
    problem = MarginProblem.of(
        np.eye(2), np.ones((1, 1)), [0, 0, 1], [1, 0, 1], [0] * 3, [1, 0, 0], [False, True, False]
    )
    s = solve(problem, norm)
    assert s.multipliers.shape == (3,) and abs(s.value - np.sqrt(0.5)) < 1e-6 and s.check()
    assert "2 constraints" in s.certificate.claim and "3 constraints" in repr(s)


# ------------------------------------------------------------------ equalities
def test_only_exactly_dependent_equalities_are_left_out():
    zero, flag = [0] * 3, [True] * 3 + [False]
    for delta, kept in ((1e-11, 2), (2.0**-60, 2), (0.0, 1)):
        keys = [[1.0, 0, 0], [1.0, delta, 0], [3.0, 3 * delta, 0], [0, 0, 1.0], [0, 0, 0]]
        p = MarginProblem.of(keys, [[1.0]], range(4), 4, 0, [*zero, 1.0], flag)
        assert independent(p).equality.sum() == kept
        assert independent(p).size == kept + 1


@given(st.integers(0, 10**6))
def test_independent_equalities_have_the_exact_rank(seed):
    import sympy

    rng = np.random.default_rng(seed)
    keys, queries = rng.integers(-2, 3, (7, 2)), rng.integers(-1, 2, (7, 2))
    n = np.arange(7)
    p = MarginProblem.of(keys, queries, n, -1, n, np.eye(7)[0], n > 0)
    rest = independent(p)
    A, B = p.rows(p.equality).matrix(), rest.rows(rest.equality).matrix()
    assert sympy.Matrix(A.astype(int)).rank() == len(B) == np.linalg.matrix_rank(B)


def test_nearly_equal_kept_tokens_are_refused_not_merged():
    """W_1 = log(4/3), 1e-11 W_2 = 0 and W_2 >= 1 contradict each other."""
    X = [[[0, 0], [1, 0], [1, 1e-11], [0, -1.0]]]
    with pytest.raises(errors.DomainError, match="nearly"):
        gen_svm(X, [[1.0]], np.log([[0.4, 0.3, 0.3, 1e-9]]))
    X[0][2] = [1, 0]
    assert gen_svm(X, [[1.0]], np.log([[0.4, 0.3, 0.3, 1e-9]])).direction.feasible


@pytest.mark.parametrize("a", [1e-300, 1e-170, 1.0, 1e150, 1e300])
@pytest.mark.parametrize("b", [1e-150, 1.0, 1e150])
def test_least_norm_in_other_units(a, b):
    """<(3, 4), w> = 5 c has the shortest solution (3, 4) c / 5."""
    t = a * 5.0 * b
    if not 1e-300 < t < np.inf:
        return
    try:
        found = least_norm(equations([3.0 * b, 4.0 * b]), np.array([t]))
    except errors.DomainError as e:
        assert "range of float64" in str(e) and not 1e-290 < a / b < 1e290
        return
    assert np.allclose(found.W[:, 0] / a, [0.6, 0.8])
    assert found.lower <= found.upper <= found.lower * (1 + 1e-12) and found.check()


def test_least_norm_of_targets_0():
    found = least_norm(equations(np.eye(2)), np.zeros(2))
    assert not found.W.any() and found.upper == 0.0 and found.check()
    found = least_norm(equations(np.eye(2)), np.array([0.0, 1e-300]))
    assert found.upper < found.lower * (1 + 1e-12)


# ----------------------------------------------------------------- texts, refusals
def test_undecided_is_not_printed_as_infeasible():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3, 4, 2)) @ rng.standard_normal((2, 6))  # of rank 2 up to rounding
    z = rng.standard_normal((3, 1)) @ rng.standard_normal((1, 5))
    found = local_optimality(X, z, [0, 1, 2], np.ones((3, 4)))
    assert found.solution.feasible is None and found.locally_optimal is None
    assert "cannot be separated" not in repr(found) and "not decided" in repr(found)
    listed = repr(enumerate_selections(X, z, np.ones((3, 4)), sample=30))
    lines = [line for line in listed.splitlines() if line.endswith("undecided")]
    assert lines and not any("infeasible" in line for line in lines)


def test_undecided_rivals_may_be_active():
    X = np.array([[[0.0, 0], [-1, -1e-8], [-1, 0], [-1, -1]]])
    found = enumerate_selections(X, np.ones((1, 1)), np.array([[1.0, 0, 0, 2]]))
    assert found.entries[0].locally_optimal is None
    assert "rivals that may be active [(0, 3)]" in repr(found)


def test_the_conditions_are_numbers():
    i = named("A")
    s = attention_svm(i.X, i.z, i.optimal)
    assert "complementarity" in repr(s) and " ok" not in repr(s)


def test_newton_that_does_not_arrive_says_so(monkeypatch):
    contexts, labels = [[0, 1, 2, 3]] * 4, [0, 0, 0, 1]
    assert graph_finite(np.eye(4), contexts, labels).any()
    monkeypatch.setattr(next_token, "STEPS", 1)
    with pytest.raises(errors.IllConditionedError, match=r"after 1 Newton steps the gradient is"):
        graph_finite(np.eye(4), contexts, labels)


# ------------------------------------------------------------------------ storing
@pytest.mark.parametrize("norm", ["frobenius", "nuclear"])
@pytest.mark.parametrize("X", [[[[2, 0], [1, 1]], [[0, 2], [1, 0]]], [[[0, 0], [1, 1]]] * 2])
def test_a_solution_survives_json_and_is_checked_again(X, norm):
    s = attention_svm(np.array(X, dtype=float), [[1.0], [-1.0]], [0, 0], norm=norm)
    again = MarginSolution.from_json(s.to_json())
    assert again.check() and repr(again) == repr(s)
    assert max(map(len, repr(s).splitlines())) <= 79 and "<table>" in s._repr_html_()
    data = s.to_data()
    if s.feasible:
        with pytest.raises(errors.CertificateError):
            MarginSolution.from_data(data | {"lower": {"float": (2 * s.upper).hex()}}).check()
    with pytest.raises(errors.CertificateError):
        MarginSolution.from_json(json.dumps({k: data[k] for k in data if k != "problem"}))
