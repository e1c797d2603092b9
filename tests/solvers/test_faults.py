"""Bad input and failing solvers: a typed error, or an answer that is proved; never a wrong one."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

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
    priority_graph,
    prompt_svm,
    separability,
)
from dsf.solvers.svm import chain, cones, isolated
from dsf.solvers.svm.equalities import least_norm
from dsf.solvers.svm.instances import draw, gradient, loss, named
from dsf.solvers.svm.problem import MarginProblem

A, B = named("A"), named("B")
ROW = {"keys": np.eye(2), "queries": [[1.0]], "plus": [0], "minus": [1], "query": [0]}


def equalities(count, minus=1, size=1.0):
    """`count` times the row size * W_11; with minus=0 it is zero."""
    one = np.zeros(count, dtype=int)
    return MarginProblem(
        np.diag([size, 0.0]), np.ones((1, 1)), one, one + minus, one,
        np.zeros(count), np.ones(count, dtype=bool),
    )  # fmt: skip


# ------------------------------------------------------------------ bad input
def changed(x, index, value):
    x = x.copy()
    x[index] = value
    return x


def svm(X=A.X, z=A.z, optimal=A.optimal, **options):
    return partial(attention_svm, X, z, optimal, **options)


UNCLEAR = [[[0, 0], [-6e6, -7e6]], [[0, 0], [4e-4, 5e-4]]]  # sizes 1e10 apart: a wide gap
NO_TOKEN = np.zeros((2, 3), dtype=bool)
# fmt: off
MESSAGES = [  # error, words of its message, call
    *((errors.NonFiniteError, words, call) for bad in (np.nan, np.inf, -np.inf) for words, call in (
        (r"`X` must be finite; entry \(1, 2, 0\)", svm(changed(A.X, (1, 2, 0), bad))),
        ("`z`", svm(z=changed(A.z, (0, 1), bad), norm="nuclear")),
        ("scores", partial(optimal_tokens, [[bad, 1.0]])),
    )),
    (errors.TieError, r"sample 1: tokens \[0, 1, 2\].*0.25.*explicitly",
     svm(optimal=None, scores=changed(A.scores, 1, 0.25))),
    *((errors.EmptyProblemError, "no constraint", svm(X, A.z[: len(X)], [0] * len(X), norm=norm))
      for X in (A.X[:, :1], A.X[:0]) for norm in ("frobenius", "nuclear")),
    (errors.DomainError, "no token index", svm(np.zeros((2, 0, 2)), optimal=[0, 0])),
    (errors.EmptyProblemError, "optimal", svm(optimal=None)),
    (errors.ShapeError, r"`z` must be \[n e\] with n = 2.*\[2 3 2\].*\[3, 2\]",
     svm(z=np.ones((3, 2)))),
    (errors.ShapeError, "`X` must have 3 axes", svm(A.X[0])),
    (errors.ShapeError, r"`optimal` must be \[n\] = \[2\]", svm(optimal=[0])),
    (errors.DomainError, r"`optimal\[1\]` = 3 is no token index", svm(optimal=[0, 3])),
    (errors.DTypeError, "indices", svm(optimal=[0.0, 1.0])),
    *((errors.DTypeError, "`X` must hold real numbers", svm(bad))
      for bad in (A.X.astype(complex), A.X > 0, A.X.astype(str))),
    *((errors.DomainError, words, svm(norm=norm, p=p)) for norm, p, words in (
        ("l2", None, "norm must be"), ("frobenius", 2, "belongs to"),
        ("entrywise", None, "exponent"), ("entrywise", 1, "exponent"),
    )),
    (errors.DomainError, "leaves the range of float64", svm(A.X * 1e-200, A.z * 1e-200)),
    (errors.DomainError, "unknown solver 'MOSEK'", svm(solvers=["MOSEK"])),
    (errors.DomainError, "Frobenius problem only", svm(norm="nuclear", solvers=["OSQP"])),
    (errors.TooManySelectionsError, r"T\^n = 8\^6 = 2.62e\+05.*sample=",
     partial(enumerate_selections, B.X, B.z, B.scores)),
    (errors.EmptyProblemError, "two tokens",
     partial(enumerate_selections, A.X[:, :1], A.z, A.scores[:, :1])),
    (errors.DomainError, "sample must be",
     partial(enumerate_selections, A.X, A.z, A.scores, sample=0)),
    (errors.ShapeError, "scores", partial(local_optimality, A.X, A.z, [0, 0], A.scores[:1])),
    (errors.ShapeError, "strict", partial(prompt_svm, A.X, A.optimal, strict=[1, 0])),
    (errors.EmptyProblemError, "no constraint",
     partial(prompt_svm, A.X, A.optimal, strict=np.array([False, False]))),
    (errors.DomainError, r"\+1 or -1", partial(classifier_svm, A.z, [1, 0])),
    (errors.ShapeError, "labels", partial(classifier_svm, A.z, [1])),
    (errors.DomainError, "no head separates",
     partial(joint_prompt_svm, [[[1.0], [0.0]], [[1.0], [0.0]]], [1, -1], [0, 0])),
    (errors.ShapeError, "one token per position", partial(causal_svm, A.X, [0, 1])),
    (errors.DomainError, r"\[0, k\]", partial(causal_svm, A.X, [[1, 0, 0], [0, 0, 0]])),
    (errors.ShapeError, "log_attention", partial(gen_svm, A.X, A.z, [[0.0]])),
    (errors.ShapeError, "`z` must be", partial(gen_svm, A.X, A.z[:1], 0.0 * NO_TOKEN)),
    (errors.ShapeError, "kept", partial(gen_svm, A.X, A.z, 0.0 * NO_TOKEN, kept=0.0 * NO_TOKEN)),
    (errors.EmptyProblemError, "sample 0 keeps no token",
     partial(gen_svm, A.X, A.z, 0.0 * NO_TOKEN, kept=NO_TOKEN)),
    (errors.EmptyProblemError, "no constraint",
     partial(gen_svm, A.X, A.z, 0.0 * NO_TOKEN, kept=~NO_TOKEN)),
    (errors.DomainError, "label 3 does not occur", partial(graph_svm, np.eye(4), [[0, 1]], [3])),
    (errors.DomainError, "vocabulary", partial(graph_svm, np.eye(2), [[0, 5]], [0])),
    (errors.EmptyProblemError, "no token has priority",
     partial(graph_svm, np.eye(2), [[0, 1], [0, 1]], [0, 1])),
    (errors.ShapeError, "as many labels", partial(graph_svm, np.eye(2), [[0, 1]], [])),
    (errors.DomainError, "no reference instance", partial(named, "Z")),
    *((errors.DomainError, "no loss", partial(f, np.zeros((2, 2)), A.X, A.z, A.scores, "hinge"))
      for f in (loss, gradient)),
    *((errors.DomainError, words, partial(MarginProblem.of, **(ROW | bad))) for words, bad in (
        ("`plus`", {"plus": [2]}), ("`minus`", {"minus": [-2]}), ("`query`", {"query": [1]}),
        ("`bound`", {"bound": -1.0}), ("`bound`", {"bound": np.nan}),
        ("an equality must have", {"equality": True}),
    )),
    (errors.DomainError, "dependent", partial(least_norm, equalities(2), np.array([1.0, 2.0]))),
    (errors.DomainError, "zero", partial(least_norm, equalities(1, minus=0), np.array([1.0]))),
    *((errors.DomainError, "leaves the range of float64",
       partial(least_norm, equalities(1, size=size), np.array([target])))
      for size, target in ((1e-200, 1e200), (1e-160, 1.0), (1e200, 1e-200), (1e10, 1e-320))),
    (errors.DomainError, "support vector", partial(joint_prompt_svm, UNCLEAR, [1, 1], [1, 1])),
    (errors.DomainError, r"`optimal\[1\]` = 0 contradicts `scores`",
     svm(optimal=[A.optimal[0], 0], scores=A.scores)),
    (errors.ShapeError, "scores", svm(scores=A.scores[:1])),
    *((errors.DTypeError, r"labels\[0\]", partial(priority_graph, 3, [[0, 1, 2]], [label]))
      for label in (0.0, "0", True, None)),
    (errors.TooLargeError, r"29999 constraints.*6\.7 GiB",
     lambda: attention_svm(np.ones((1, 30_000, 150)), np.ones((1, 150)), [0])),
    (errors.TooLargeError, r"30000 constraints.*8\.9 GiB",
     lambda: attention_svm(np.zeros((30_000, 2, 200)), np.ones((30_000, 200)), [0] * 30_000)),
]
# fmt: on


@pytest.mark.parametrize("error, words, call", MESSAGES)
def test_an_error_says_what_is_wrong(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_what_is_accepted_beside_the_refusals():
    assert attention_svm(A.X, A.z, A.optimal, scores=A.scores).feasible
    assert priority_graph(3, [[0, 1, 2]], np.array([0])).components[2].tolist() == [0, 1, 2]
    assert attention_svm(A.X, A.z, [2, 2], scores=changed(A.scores, 1, 0.25)).feasible
    whole = (A.X * 8).astype(np.int32)
    taken, same = (attention_svm(X, A.z, A.optimal) for X in (whole, whole.astype(float)))
    assert taken.feasible and taken.value == same.value and np.array_equal(taken.W, same.W)
    s = attention_svm(A.X * 1e-310, A.z * 1e200, A.optimal)  # subnormal tokens have few digits
    assert s.check() and abs(s.value * 1e-110 / 4.603149 - 1.0) < 1e-5
    s = attention_svm([[[0.0], [2.0]]], [[0.5]], [1])
    assert abs(s.W[0, 0] - 1.0) < 1e-14 and s.check()


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
