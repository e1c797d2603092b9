"""Bad input and failing solvers: a typed error, or an honest answer; never a wrong one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dsf.core import errors
from dsf.solvers import (
    attention_svm,
    causal_svm,
    classifier_svm,
    enumerate_selections,
    gen_svm,
    graph_svm,
    joint_prompt_svm,
    local_optimality,
    optimal_tokens,
    prompt_svm,
    separability,
)
from dsf.solvers.svm import chain, cones, isolated
from dsf.solvers.svm.equalities import least_norm
from dsf.solvers.svm.instances import draw, gradient, loss, named
from dsf.solvers.svm.problem import MarginProblem

A = named("A")


# ------------------------------------------------------------------ bad input
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    X, z = A.X.copy(), A.z.copy()
    X[1, 2, 0] = bad
    with pytest.raises(errors.NonFiniteError, match=r"`X` must be finite; entry \(1, 2, 0\)"):
        attention_svm(X, A.z, A.optimal)
    z[0, 1] = bad
    with pytest.raises(errors.NonFiniteError, match="`z`"):
        attention_svm(A.X, z, A.optimal, norm="nuclear")
    with pytest.raises(errors.NonFiniteError, match="scores"):
        optimal_tokens([[bad, 1.0]])


def test_ties_need_a_choice():
    scores = A.scores.copy()
    scores[1] = 0.25
    with pytest.raises(errors.TieError, match=r"sample 1: tokens \[0, 1, 2\].*0.25.*explicitly"):
        attention_svm(A.X, A.z, scores=scores)
    assert attention_svm(A.X, A.z, optimal=[2, 2], scores=scores).feasible


@pytest.mark.parametrize(
    "X, z", [(A.X[:, :1], A.z), (A.X[:0], A.z[:0]), (np.zeros((2, 0, 2)), A.z)]
)
def test_no_constraint(X, z):
    optimal = np.zeros(len(X), dtype=int)
    with pytest.raises((errors.EmptyProblemError, errors.DomainError)):
        attention_svm(X, z, optimal)
    if X.shape[1]:
        with pytest.raises(errors.EmptyProblemError, match="no constraint"):
            attention_svm(X, z, optimal, norm="nuclear")


def test_neither_choice_nor_scores():
    with pytest.raises(errors.EmptyProblemError, match="optimal"):
        attention_svm(A.X, A.z)


def test_shapes_and_types():
    with pytest.raises(
        errors.ShapeError, match=r"`z` must be \[n e\] with n = 2.*\[2 3 2\].*\[3, 2\]"
    ):
        attention_svm(A.X, np.ones((3, 2)), A.optimal)
    with pytest.raises(errors.ShapeError, match="`X` must have 3 axes"):
        attention_svm(A.X[0], A.z, A.optimal)
    with pytest.raises(errors.ShapeError, match=r"`optimal` must be \[n\] = \[2\]"):
        attention_svm(A.X, A.z, [0])
    with pytest.raises(errors.DomainError, match=r"`optimal\[1\]` = 3 is no token index"):
        attention_svm(A.X, A.z, [0, 3])
    with pytest.raises(errors.DTypeError, match="indices"):
        attention_svm(A.X, A.z, [0.0, 1.0])
    for bad in (A.X.astype(complex), A.X > 0, A.X.astype(str)):
        with pytest.raises(errors.DTypeError, match="`X` must hold real numbers"):
            attention_svm(bad, A.z, A.optimal)
    whole = attention_svm((A.X * 8).astype(np.int32), A.z, A.optimal)
    assert whole.feasible is not None


@pytest.mark.parametrize(
    "norm, p", [("l2", None), ("frobenius", 2), ("entrywise", None), ("entrywise", 1)]
)
def test_unknown_norms(norm, p):
    with pytest.raises(errors.DomainError):
        attention_svm(A.X, A.z, A.optimal, norm=norm, p=p)


def test_the_answer_must_fit_into_floats():
    with pytest.raises(errors.DomainError, match="leaves the range of float64"):
        attention_svm(A.X * 1e-200, A.z * 1e-200, A.optimal)
    s = attention_svm(A.X * 1e-310, A.z * 1e200, A.optimal)  # subnormal tokens have few digits
    assert s.check() and abs(s.value * 1e-110 / 4.603149 - 1.0) < 1e-5


def test_one_sample_two_tokens():
    s = attention_svm([[[0.0], [2.0]]], [[0.5]], [1])
    assert abs(s.W[0, 0] - 1.0) < 1e-14 and s.check()


def test_other_problems_refuse_in_their_own_words():
    with pytest.raises(errors.TooManySelectionsError, match=r"T\^n = 8\^6 = 2.62e\+05.*sample="):
        enumerate_selections(*(lambda i: (i.X, i.z, i.scores))(named("B")))
    with pytest.raises(errors.EmptyProblemError):
        enumerate_selections(A.X[:, :1], A.z, A.scores[:, :1])
    with pytest.raises(errors.DomainError, match="sample must be"):
        enumerate_selections(A.X, A.z, A.scores, sample=0)
    with pytest.raises(errors.ShapeError, match="scores"):
        local_optimality(A.X, A.z, [0, 0], A.scores[:1])
    with pytest.raises(errors.ShapeError, match="strict"):
        prompt_svm(A.X, A.optimal, strict=[1, 0])
    with pytest.raises(errors.EmptyProblemError):
        prompt_svm(A.X, A.optimal, strict=np.array([False, False]))
    with pytest.raises(errors.DomainError, match=r"\+1 or -1"):
        classifier_svm(A.z, [1, 0])
    with pytest.raises(errors.ShapeError, match="labels"):
        classifier_svm(A.z, [1])
    with pytest.raises(errors.DomainError, match="no head separates"):
        joint_prompt_svm([[[1.0], [0.0]], [[1.0], [0.0]]], [1, -1], [0, 0])
    with pytest.raises(errors.ShapeError, match="one token per position"):
        causal_svm(A.X, [0, 1])
    with pytest.raises(errors.DomainError, match=r"\[0, k\]"):
        causal_svm(A.X, [[1, 0, 0], [0, 0, 0]])
    with pytest.raises(errors.ShapeError, match="log_attention"):
        gen_svm(A.X, A.z, [[0.0]])
    with pytest.raises(errors.ShapeError, match="kept"):
        gen_svm(A.X, A.z, np.zeros((2, 3)), kept=np.zeros((2, 3)))
    with pytest.raises(errors.EmptyProblemError, match="sample 0 keeps no token"):
        gen_svm(A.X, A.z, np.zeros((2, 3)), kept=np.zeros((2, 3), dtype=bool))
    with pytest.raises(errors.EmptyProblemError):
        gen_svm(A.X, A.z, np.zeros((2, 3)), kept=np.ones((2, 3), dtype=bool))
    with pytest.raises(errors.DomainError, match="label 3 does not occur"):
        graph_svm(np.eye(4), [[0, 1]], [3])
    with pytest.raises(errors.DomainError, match="vocabulary"):
        graph_svm(np.eye(2), [[0, 5]], [0])
    with pytest.raises(errors.EmptyProblemError, match="no token has priority"):
        graph_svm(np.eye(2), [[0, 1], [0, 1]], [0, 1])
    with pytest.raises(errors.ShapeError, match="as many labels"):
        graph_svm(np.eye(2), [[0, 1]], [])
    with pytest.raises(errors.DomainError, match="no reference instance"):
        named("Z")
    for f in (loss, gradient):
        with pytest.raises(errors.DomainError, match="no loss"):
            f(np.zeros((2, 2)), A.X, A.z, A.scores, "hinge")


def test_dependent_equalities_are_refused():
    keys = np.array([[1.0, 0.0], [0.0, 0.0]])
    yes = np.array([True, True])
    twice = MarginProblem(
        keys,
        np.ones((1, 1)),
        np.array([0, 0]),
        np.array([1, 1]),
        np.array([0, 0]),
        np.zeros(2),
        yes,
    )
    with pytest.raises(errors.DomainError, match="dependent"):
        least_norm(twice, np.array([1.0, 2.0]))
    with pytest.raises(errors.DomainError, match="zero"):
        least_norm(
            MarginProblem(
                keys,
                np.ones((1, 1)),
                np.array([0]),
                np.array([0]),
                np.array([0]),
                np.zeros(1),
                yes[:1],
            ),
            np.array([1.0]),
        )


def test_rows_that_make_no_sense():
    keys, queries = np.eye(2), np.ones((1, 1))
    for bad in (
        {"plus": [2]},
        {"minus": [-2]},
        {"query": [1]},
        {"bound": -1.0},
        {"bound": np.nan},
        {"equality": True},
    ):
        rows = {"plus": [0], "minus": [1], "query": [0], **bad}
        with pytest.raises(errors.DomainError):
            MarginProblem.of(keys, queries, **rows)


def test_too_many_constraints_for_memory():
    X = np.ones((1, 30_000, 150))
    with pytest.raises(errors.TooLargeError, match=r"29999 constraints.*6\.7 GiB"):
        attention_svm(X, np.ones((1, 150)), [0])
    X = np.zeros((30_000, 2, 200))
    with pytest.raises(errors.TooLargeError, match=r"30000 constraints.*8\.9 GiB"):
        attention_svm(X, np.ones((30_000, 200)), np.zeros(30_000, dtype=int))


def test_a_long_context_needs_no_gram_matrix():
    X = np.random.default_rng(0).standard_normal((1, 30_000, 2))
    s = attention_svm(X, [[1.0, 0.0]], [0])
    assert s.feasible is False and s.check()
    X[0, 7] = 9.0
    s = attention_svm(X, [[1.0, 0.0]], [7])
    assert s.feasible and s.gap < 1e-8 and s.check()


# ------------------------------------------------------------ failing solvers
@pytest.mark.parametrize("norm", ["frobenius", "nuclear"])
def test_missing_solver_asked_for(monkeypatch, norm):
    monkeypatch.setattr(cones, "installed", lambda: {"SCS"})
    with pytest.raises(errors.SolverMissingError, match=r"CLARABEL is not installed: `pip install"):
        attention_svm(A.X, A.z, A.optimal, norm=norm, solvers=["CLARABEL"])


def test_no_conic_solver_at_all(monkeypatch):
    monkeypatch.setattr(cones, "installed", lambda: set())
    assert attention_svm(A.X, A.z, A.optimal).feasible  # needs none
    with pytest.raises(errors.SolverMissingError, match="pip install cvxpy clarabel"):
        attention_svm(A.X, A.z, A.optimal, norm="nuclear")


def test_cvxpy_missing():
    code = (
        "import sys; sys.modules['cvxpy'] = None\n"
        "from dsf.solvers import attention_svm\n"
        "from dsf.solvers.svm.instances import named\n"
        "from dsf.core.errors import SolverMissingError\n"
        "i = named('A')\n"
        "assert attention_svm(i.X, i.z, i.optimal).check()\n"
        "try:\n"
        "    attention_svm(i.X, i.z, i.optimal, norm='nuclear')\n"
        "except SolverMissingError as e:\n"
        "    assert 'pip install cvxpy clarabel' in str(e), e\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


@pytest.mark.solver
def test_the_next_solver_is_tried_and_the_chain_recorded(monkeypatch):
    monkeypatch.setattr(cones, "installed", lambda: {"SCS"})
    s = attention_svm(A.X, A.z, A.optimal, norm="nuclear")
    assert [a.solver for a in s.attempts] == ["nnls", "SCS"] and s.check()
    monkeypatch.undo()

    answers = cones.solve_cone

    def poor(solver, **options):
        answer = answers(solver, **options)
        if solver == "CLARABEL":
            answer |= {"status": "optimal_inaccurate", "W": 0.1 + answer["W"]}
        return answer

    monkeypatch.setattr(cones, "solve_cone", poor)
    s = attention_svm(A.X, A.z, A.optimal, norm="nuclear")
    first, second = s.attempts[-2:]
    assert (first.solver, first.status) == ("CLARABEL", "optimal_inaccurate")
    assert second.solver == "SCS" and first.gap > 1e-6 >= s.gap
    assert s.check() and abs(s.value - 4.762425) < 1e-5


@pytest.mark.solver
@pytest.mark.parametrize("lie", [np.zeros((2, 2)), np.full((2, 2), np.nan), -np.eye(2), None])
def test_a_wrong_answer_called_optimal_proves_nothing(monkeypatch, lie):
    def liar(solver, **options):
        n = len(options["h"])
        return {"W": lie, "lam": np.ones(n), "status": "optimal", "iterations": 1, "version": "0"}

    monkeypatch.setattr(cones, "solve_cone", liar)
    s = attention_svm(A.X, A.z, A.optimal, solvers=["CLARABEL"])
    assert s.feasible is None and s.W is None and s.check()
    assert s.upper >= 0.2172425
    t = attention_svm(A.X, A.z, A.optimal, norm="nuclear")  # the Frobenius W still proves something
    assert t.feasible and t.gap > 1e-6 and t.check()
    assert "misses the goal" in repr(t)


@pytest.mark.solver
def test_a_solver_that_says_infeasible_is_not_believed(monkeypatch):
    def no(solver, **options):
        return {"W": None, "lam": None, "status": "infeasible", "iterations": 5, "version": "0"}

    monkeypatch.setattr(cones, "solve_cone", no)
    s = attention_svm(A.X, A.z, A.optimal, solvers=["OSQP"])
    assert s.feasible is None and s.attempts[0].status == "infeasible" and s.check()


@pytest.mark.solver
def test_the_iteration_limit_gives_an_honest_gap(monkeypatch):
    monkeypatch.setattr(cones, "options", lambda solver, time_limit: {"max_iters": 5})
    i = named("B")
    s = attention_svm(i.X, i.z, i.optimal, norm="nuclear", solvers=["SCS"])
    assert s.feasible is None or s.gap > 1e-6
    assert s.check()


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A module that child processes can import, with functions that misbehave."""
    (tmp_path / "stub_solver.py").write_text(
        "import os, time\n"
        "def abort(**k): os.abort()\n"
        "def hang(**k): time.sleep(60)\n"
        "def noise(**k):\n    print('chatter'); os.write(1, b'more'); return {'x': k['a'] + 1}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "stub_solver"


@pytest.mark.solver
def test_an_aborting_solver_is_isolated(stub, monkeypatch):
    monkeypatch.setitem(chain.WORKERS, "CLARABEL", f"{stub}:abort")
    s = attention_svm(A.X, A.z, A.optimal, norm="nuclear", isolate=True)
    status = {a.solver: a.status for a in s.attempts}
    assert status["CLARABEL"] == "crashed: SIGABRT"
    assert status["SCS"] == "optimal" and s.gap <= 1e-6 and s.check()


def test_crash_hang_and_error_in_a_child(stub):
    with pytest.raises(isolated.SolverFailure, match="crashed: SIGABRT"):
        isolated.call("stub_solver:abort", 20.0, a=1)
    with pytest.raises(isolated.SolverFailure, match="time limit of 1 s"):
        isolated.call("stub_solver:hang", 1.0)
    with pytest.raises(isolated.SolverFailure, match="raised KeyError"):
        isolated.call("stub_solver:noise", 20.0)
    assert isolated.call("stub_solver:noise", 20.0, a=1) == {"x": 2}


@pytest.mark.solver
def test_isolated_answers_are_the_same():
    a = attention_svm(A.X, A.z, A.optimal, norm="nuclear", isolate=True)
    b = attention_svm(A.X, A.z, A.optimal, norm="nuclear")
    assert np.array_equal(a.W, b.W)


def test_unknown_solver_and_wrong_norm():
    with pytest.raises(errors.DomainError, match="unknown solver 'MOSEK'"):
        attention_svm(A.X, A.z, A.optimal, solvers=["MOSEK"])
    with pytest.raises(errors.DomainError, match="Frobenius problem only"):
        attention_svm(A.X, A.z, A.optimal, norm="nuclear", solvers=["OSQP"])


def test_a_forced_solver_never_falls_back():
    i = draw(3, 10, 6, 3)
    s = attention_svm(A.X, A.z, A.optimal, solvers=["ascent"])
    assert [a.solver for a in s.attempts] == ["coordinate ascent"]
    t = attention_svm(i.X, i.z, i.optimal, solvers=["ascent"])  # infeasible: proved on the side
    assert t.feasible is False and t.check()


def test_optimised_python_raises_the_same_errors():
    code = (
        "import numpy as np\n"
        "from dsf.solvers import attention_svm\n"
        "from dsf.core.errors import NonFiniteError, CertificateError\n"
        "import dataclasses\n"
        "try:\n    attention_svm([[[np.nan], [0.0]]], [[1.0]], [0])\n"
        "except NonFiniteError:\n    pass\n"
        "else:\n    raise SystemExit('no error')\n"
        "c = attention_svm([[[1.0], [0.0]]], [[1.0]], [0]).certificate\n"
        "c.check()\n"
        "try:\n    dataclasses.replace(c, upper=c.upper / 2).check()\n"
        "except CertificateError:\n    pass\n"
        "else:\n    raise SystemExit('no refusal')\n"
    )
    subprocess.run([sys.executable, "-P", "-O", "-c", code], check=True)


def test_separability_needs_no_accuracy():
    assert separability(A.X, A.z, A.optimal).feasible
