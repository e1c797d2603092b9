"""Margin problems under bad input and bad solvers, as one table: a value, a typed error, or
"undecided"; every answer passes its own check."""

from __future__ import annotations

import re
import threading
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from dsf.core import errors
from dsf.solvers import (
    attention_svm,
    causal_svm,
    classifier_svm,
    enumerate_selections,
    gen_svm,
    graph_finite,
    graph_svm,
    joint_prompt_svm,
    local_optimality,
    priority_graph,
    prompt_svm,
)
from dsf.solvers.svm import cones
from dsf.solvers.svm.equalities import least_norm
from dsf.solvers.svm.instances import draw, named
from dsf.solvers.svm.problem import MarginProblem, attention_problem

pytestmark = pytest.mark.solver

VALUE, ERROR, UNDECIDED = "value", "typed error", "undecided"
A, B, D = named("A"), named("B"), named("D")
EYE = np.eye(4)
BASE = {"X": A.X, "z": A.z, "optimal": A.optimal}
NORMS = tuple(enumerate(({}, {"norm": "nuclear"}, {"norm": "entrywise", "p": 3.0})))
ENDS, FAR = (1e-300, 1e300), (1e-12, 1e12)
ROW = {"keys": EYE, "queries": EYE, "plus": [0], "minus": [1], "query": [0]}
Empty, Shape, Type = errors.EmptyProblemError, errors.ShapeError, errors.DTypeError
Domain, Finite = errors.DomainError, errors.NonFiniteError


def svm(**changes):
    return attention_svm(**(BASE | changes))


def scaled(i, factor, what="z"):
    """Instance B with the first sample multiplied by a factor."""
    X, z = B.X.copy(), B.z.copy()
    {"X": X, "z": z}[what][i] *= factor
    return {"X": X, "z": z, "optimal": B.optimal}


def opposite(m):
    """Two samples whose best common margin is |m|."""
    X = np.array([[[0, 0], [1.0, m]], [[0, 0], [-1.0, m]]])
    return {"X": X, "z": np.ones((2, 1)), "optimal": [1, 1]}


def changed(x, index, value):
    x = np.array(x, dtype=float)
    x[index] = value
    return x


def twice(z, optimal):
    return {"X": np.concatenate([A.X, A.X]), "z": z, "optimal": optimal}


def answering(W="same", lam="same", error=None, **rest):
    """attention_svm in the nuclear norm while every conic solver answers like this."""

    def solve_cone(solver, **options):
        if error is not None:
            raise error
        n = len(options["h"])
        good = {"W": np.zeros(options["shape"]), "lam": np.ones(n), "status": "optimal"}
        answer = good | {"iterations": 1, "version": "0"} | rest
        answer |= {k: x for k, x in (("W", W), ("lam", lam)) if not isinstance(x, str)}
        return {k: x for k, x in answer.items() if x is not Ellipsis}

    def run(**changes):
        with mock.patch.object(cones, "solve_cone", solve_cone):
            return svm(**changes)

    return run


def without_cvxpy(**changes):
    def missing():
        raise errors.SolverMissingError("cvxpy is not installed: `pip install cvxpy`")

    with mock.patch.object(cones, "installed", missing):
        return svm(**changes)


def logs(**columns):
    """Log attention [6 8] of instance B: the first two tokens keep it."""
    x = np.full((6, 8), -20.0)
    x[:, :2] = np.log(0.5)
    for name, value in columns.items():
        x[:, int(name[1:])] = value
    return x


KEPT = logs()
DUPLICATE = np.concatenate([B.X[:, :1], B.X], axis=1)  # the first token twice
FIRST = np.concatenate([KEPT[:, :1], KEPT], axis=1)
ONE_QUERY = np.outer(np.arange(1, 7), B.z[0])  # of rank one up to rounding
CONTRADICTION = {"X": [[[1.0], [0.0]], [[-1.0], [0.0]]], "z": [[1.0], [1.0]], "optimal": [0, 0]}

# By row of README's table of bad inputs: name, call, what must come of it: True or False (feasible,
# proved), None (undecided), "value" (an answer of another type), or an error.
CASES = {}
# fmt: off
CASES[19] = [  # inseparable, or nearly
    *((f"inseparable {i}", partial(svm, **CONTRADICTION, **k), False) for i, k in NORMS),
    *((f"instance D {i}", partial(svm, X=D.X, z=D.z, optimal=D.optimal, **k), False)
      for i, k in NORMS),
    *((f"margin {m:g}, {i}", partial(svm, **opposite(m), **k), True)
      for m in (1e-3, 1e-6, 1e-9, -1e-9, 1e-12, 1e-14) for i, k in NORMS),
    *((f"margin 1e-16, {i}", partial(svm, **opposite(1e-16), **k), None) for i, k in NORMS),
    *((f"margin 0, {i}", partial(svm, **opposite(0.0), **k), False) for i, k in NORMS),
    ("two samples contradict",
     partial(svm, **twice(np.concatenate([A.z, A.z]), [2, 2, 0, 0])), False),
    ("a query and its negative",
     partial(svm, **twice(np.concatenate([A.z, -A.z]), [2, 2, 2, 2])), False),
    ("relaxed, contradiction",
     partial(prompt_svm, [[[1.0], [0]], [[-1.0], [0]]], [0, 0], strict=[True, False]), False),
    ("relaxed, tight",
     partial(prompt_svm, [[[1.0, 0], [0, 0]], [[-1, 1e-9], [0, 0]]], [0, 0], strict=[True, False]),
     True),
    ("classifier", partial(classifier_svm, [[1.0], [1.0]], [1, -1]), False),
    ("joint", partial(joint_prompt_svm, [[[1.0], [0]], [[1.0], [0]]], [1, -1], [0, 0]), Domain),
    ("causal", partial(causal_svm, np.ones((1, 3, 2)), [[0, 1, 2]]), False),
    ("graph, equal embeddings", partial(graph_svm, np.ones((4, 2)), [[0, 1]], [0]), False),
    ("attention that contradicts itself",
     partial(gen_svm, DUPLICATE, B.z, changed(FIRST, (0, 0), 0.0)), Domain),
]
CASES[20] = [  # scales
    *((f"X * {f:g}, {i}", partial(svm, X=A.X * f, **k), True)
      for f in (1e-150, 1e-12, 1e12, 1e150) for i, k in NORMS),
    *((f"z * {f:g}", partial(svm, z=A.z * f), True) for f in (1e-150, 1e-12, 1e12, 1e150)),
    *((f"X * {f:g}, z / {f:g}", partial(svm, X=A.X * f, z=A.z / f), True) for f in ENDS),
    *((f"nuclear, X * {f:g}", partial(svm, X=A.X * f, norm="nuclear"), True) for f in ENDS),
    *((f"X * {f:g}", partial(svm, X=A.X * f), Domain) for f in ENDS),
    *((f"X and z * {f:g}", partial(svm, X=A.X * f, z=A.z * f), Domain) for f in (1e-200, 1e200)),
    *((f"{w} of a sample * {f:g}", partial(svm, **scaled(0, f, w)), True)
      for w in "Xz" for f in (1e-100, 1e-12, 1e-6, 1e6, 1e12, 1e100)),
    *((f"{w} of a sample * {f:g}, {i}", partial(svm, **scaled(0, f, w), **k), Domain)
      for w in "Xz" for f in ENDS for i, k in NORMS),
    *((f"nuclear, a sample * {f:g}", partial(svm, **scaled(0, f), norm="nuclear"), True)
      for f in FAR),
    ("differences overflow",
     partial(svm, X=[[[1.7e308], [-1.7e308]]], z=[[1.0]], optimal=[0]), Domain),
    ("the smallest float", partial(svm, X=[[[5e-324], [0.0]]], z=[[1.0]], optimal=[0]), Domain),
    *((f"prompt * {f:g}", partial(prompt_svm, A.X * f, A.optimal, strict=[True, False]), True)
      for f in FAR),
    *((f"Gen-SVM * {f:g}", partial(gen_svm, B.X * f, B.z, KEPT), VALUE) for f in FAR),
    *((f"Gen-SVM * {f:g}", partial(gen_svm, B.X * f, B.z, KEPT), Domain) for f in ENDS),
    *((f"Graph-SVM * {f:g}", partial(graph_svm, EYE * f, [[0, 1, 2]], [0]), True) for f in FAR),
    *((f"Graph-SVM * {f:g}", partial(graph_svm, EYE * f, [[0, 1, 2]], [0]), Domain) for f in ENDS),
    *((f"finite part * {f:g}",
       partial(graph_finite, EYE * f, [[0, 1, 2, 3]] * 4, [0, 0, 0, 1]), Domain)
      for f in (1e-200, 1e200)),
]
CASES[21] = [  # degenerate
    *((f"rival equals the optimal token {i}",
       partial(svm, X=changed(A.X, (0, 0), A.X[0, 2]), **k), False) for i, k in NORMS),
    *((f"equal rivals {i}", partial(svm, X=changed(A.X, (0, 0), A.X[0, 1]), **k), True)
      for i, k in NORMS),
    *((f"samples twice {i}", partial(svm, **twice(np.concatenate([A.z] * 2), [2] * 4), **k), True)
      for i, k in NORMS),
    *((f"one sample {i}", partial(svm, X=A.X[:1], z=A.z[:1], optimal=[2], **k), True)
      for i, k in NORMS),
    *((f"one number {i}", partial(svm, X=[[[1.0], [2.0]]], z=[[1.0]], optimal=[1], **k), True)
      for i, k in NORMS),
    ("rank one up to rounding", partial(svm, X=B.X, z=ONE_QUERY, optimal=B.optimal), None),
    ("zero query", partial(svm, z=A.z * 0), False),
    ("zero tokens", partial(svm, X=A.X * 0), False),
    ("one token each", partial(svm, X=A.X[:, :1], optimal=[0, 0]), Empty),
    ("no token", partial(svm, X=np.zeros((2, 0, 2)), optimal=[0, 0]), Domain),
    ("no sample", partial(svm, X=A.X[:0], z=A.z[:0], optimal=[]), Empty),
    ("no coordinate of X", partial(svm, X=np.zeros((2, 3, 0))), Shape),
    ("no coordinate of z", partial(svm, z=np.zeros((2, 0))), Shape),
    ("a tie", partial(svm, optimal=None, scores=np.zeros((2, 3))), errors.TieError),
    ("a tie, but chosen", partial(svm, scores=np.zeros((2, 3))), True),
    ("nothing chosen", partial(svm, optimal=None), Empty),
    ("scores of other tokens", partial(svm, optimal=None, scores=[[0.0, 1], [1, 0]]), Shape),
    ("scores NaN", partial(svm, optimal=None, scores=np.full((2, 3), np.nan)), Finite),
    *((f"X {v}", partial(svm, X=changed(A.X, (1, 2, 0), v)), Finite)
      for v in (np.nan, np.inf, -np.inf)),
    *((f"z {v}", partial(svm, z=changed(A.z, (0, 0), v)), Finite) for v in (np.nan, np.inf)),
    *((f"X of {t}", partial(svm, X=(A.X * 8).astype(t)), True)
      for t in ("f2", "f4", "i2", "i8", "g", ">f8")),
    *((f"X of {t}", partial(svm, X=A.X.astype(t)), Type) for t in ("O", "?", "U", "c16")),
    ("X a tensor", partial(svm, X=torch.tensor(A.X, requires_grad=True)), True),
    ("X bfloat16", partial(svm, X=torch.tensor(A.X).bfloat16()), True),
    ("X ragged", partial(svm, X=[[[1.0, 2], [3, 4]], [[1.0, 2]]]), Shape),
    ("X None", partial(svm, X=None), Type),
    ("X backwards in memory",
     partial(svm, X=np.asfortranarray(A.X)[:, ::-1], optimal=[0, 0]), True),
    ("z of another n", partial(svm, z=np.ones((3, 2))), Shape),
    ("z one row", partial(svm, z=A.z[0]), Shape),
    *((f"optimal {v!r}", partial(svm, optimal=v), e) for v, e in (
        ([-1, 0], Domain), ([0, 3], Domain), ([0.0, 1.0], Type), ([True, False], Type),
        ([10**30, 0], Type), ([0], Shape), ([[0, 1]], Shape), (1, Shape), ("ab", Type),
        ([[0], [1, 2]], Shape), ([np.nan, 0], Type),
    )),
    ("optimal uint64", partial(svm, optimal=np.array([2**63, 0], dtype=np.uint64)), Domain),
    ("optimal uint8", partial(svm, optimal=np.array([2, 2], dtype=np.uint8)), True),
    ("20000 rivals", partial(svm, X=draw(0, 1, 20_001, 3).X, z=[[1.0]], optimal=[0]), True),
    ("prompt: strict no bools", partial(prompt_svm, A.X, A.optimal, strict=[1, 0]), Shape),
    ("prompt: strict ragged", partial(prompt_svm, A.X, A.optimal, strict=[[1], [2, 3]]), Shape),
    ("prompt: nobody strict", partial(prompt_svm, A.X, A.optimal, strict=[False, False]), Empty),
    ("prompt: relaxed rival equal",
     partial(prompt_svm, [[[1.0], [0]], [[1.0], [1.0]]], [0, 0], strict=[True, False]), True),
    ("classifier: zero sample", partial(classifier_svm, [[0.0], [1.0]], [1, -1]), False),
    ("classifier: labels", partial(classifier_svm, A.z, [1, 0]), Domain),
    ("classifier: label NaN", partial(classifier_svm, A.z, [1, np.nan]), Finite),
    ("classifier: no sample", partial(classifier_svm, np.zeros((0, 2)), np.zeros(0)), Empty),
    ("joint: keys of other tokens",
     partial(joint_prompt_svm, A.X, [1, -1], A.optimal, keys=A.X[:, :2]), Domain),
    ("joint: keys of other samples",
     partial(joint_prompt_svm, A.X, [1, -1], A.optimal, keys=A.X[:1]), Shape),
    ("Gen-SVM: NaN", partial(gen_svm, B.X, B.z, changed(KEPT, (0, 0), np.nan)), Finite),
    ("Gen-SVM: +inf", partial(gen_svm, B.X, B.z, changed(KEPT, (0, 0), np.inf)), Finite),
    ("Gen-SVM: -inf loses",
     partial(gen_svm, B.X, B.z, np.where(KEPT < -5, -np.inf, KEPT)), VALUE),
    ("Gen-SVM: -inf kept",
     partial(gen_svm, B.X, B.z, np.full((6, 8), -np.inf), kept=KEPT > -5), Finite),
    ("Gen-SVM: all -inf", partial(gen_svm, B.X, B.z, np.full((6, 8), -np.inf)), Empty),
    ("Gen-SVM: all kept", partial(gen_svm, B.X, B.z, KEPT, kept=np.ones((6, 8), bool)), Empty),
    ("Gen-SVM: a kept token twice", partial(gen_svm, DUPLICATE, B.z, FIRST), VALUE),
    ("Gen-SVM: zero queries", partial(gen_svm, B.X, B.z * 0, logs(c0=-20.0)), VALUE),
    ("Gen-SVM: complex", partial(gen_svm, B.X, B.z, KEPT + 0j), Type),
    ("Gen-SVM: ragged", partial(gen_svm, B.X, B.z, [[1], [2, 3]]), Shape),
    ("Graph-SVM: no context", partial(graph_svm, EYE, [], []), Empty),
    ("Graph-SVM: an empty context", partial(graph_svm, EYE, [[]], [0]), Shape),
    ("Graph-SVM: contexts None", partial(graph_svm, EYE, None, [0]), Shape),
    ("Graph-SVM: floats", partial(graph_svm, EYE, [[0.0, 1.0]], [0]), Shape),
    ("Graph-SVM: label missing", partial(graph_svm, EYE, [[0, 1]], [3]), Domain),
    ("Graph-SVM: unknown token", partial(graph_svm, EYE, [[-1, 1]], [1]), Domain),
    ("Graph-SVM: zero query", partial(graph_svm, np.diag([1.0, 0, 1, 1]), [[0, 1]], [0]), False),
    ("graph: half a token", partial(priority_graph, 2.5, [[0, 1]], [0]), Domain),
    ("graph: huge vocabulary", partial(priority_graph, 100_000, [[0, 1]], [0]),
     errors.TooLargeError),
    ("causal: the future", partial(causal_svm, A.X, [[1, 0, 0], [0, 0, 0]]), Domain),
    ("causal: floats", partial(causal_svm, A.X, np.zeros((2, 3))), Type),
    ("causal: nothing chosen", partial(causal_svm, A.X, np.full((2, 3), -1)), Empty),
    ("causal: ragged", partial(causal_svm, A.X, [[0], [0, 1]]), Shape),
    ("local: NaN", partial(local_optimality, A.X, A.z, A.optimal, A.scores * np.nan), Finite),
    ("enumeration: sample 2.5",
     partial(enumerate_selections, A.X, A.z, A.scores, sample=2.5), Domain),
    ("enumeration: limit 'a'",
     partial(enumerate_selections, A.X, A.z, A.scores, limit="a"), Domain),
    ("least norm: other size", partial(least_norm, attention_problem(**BASE), np.ones(3)), Shape),
    ("least norm: NaN", partial(least_norm, attention_problem(**BASE), np.full(4, np.nan)), Finite),
    *((f"rows: {k}={v!r}", partial(MarginProblem.of, **(ROW | {k: v})), e) for k, v, e in (
        ("plus", [0.5], Type), ("plus", [[0]], Shape), ("minus", [1, 2, 3], Shape),
        ("query", [9], Domain), ("bound", "a", Type), ("bound", [1.0, 2.0], Shape),
        ("plus", [], Empty), ("keys", np.zeros((0, 4)), Domain),
    )),
]
CASES[22] = [  # options and solvers
    *((f"norm {v!r}", partial(svm, norm=v), Domain) for v in ("Frobenius", None, 2, ["nuclear"])),
    *((f"p {v!r}", partial(svm, norm="entrywise", p=v), Domain)
      for v in (None, 0, 1, -1, np.inf, np.nan, "a", [2.0])),
    *((f"p {v!r}", partial(svm, norm="entrywise", p=v), True) for v in (1 + 1e-9, 50, 1e6)),
    *((f"solvers {v!r}", partial(svm, solvers=v), Domain) for v in ("nnls", [None], ["clarabel"])),
    ("solvers []", partial(svm, solvers=[]), None),
    *((f"goal {v!r}", partial(svm, goal=v), Domain) for v in (-1, np.nan, "a")),
    *((f"goal {v!r}", partial(svm, goal=v), True) for v in (0.0, np.inf)),
    *((f"time limit {v!r}", partial(svm, norm="nuclear", time_limit=v), Domain)
      for v in (-1, np.nan, "a")),
    *((f"time limit {v!r}", partial(svm, norm="nuclear", time_limit=v), True)
      for v in (0.0, 1e-9, np.inf)),
    ("time limit 0, only that solver",
     partial(svm, norm="nuclear", time_limit=0.0, solvers=["CLARABEL"]), None),
    ("no cvxpy, not needed", partial(without_cvxpy), True),
    ("no cvxpy, would help", partial(without_cvxpy, **opposite(1e-12)), True),
    ("no cvxpy, undecided", partial(without_cvxpy, **opposite(1e-16)), None),
    ("no cvxpy, needed", partial(without_cvxpy, norm="nuclear"), errors.SolverMissingError),
    ("no cvxpy, asked for", partial(without_cvxpy, solvers=["OSQP"]), errors.SolverMissingError),
    *((f"nuclear, the solver {name}", partial(run, norm="nuclear"), True) for name, run in (
        ("says 0", answering()),
        ("says NaN", answering(W=np.full((2, 2), np.nan))),
        ("says infinity", answering(W=np.full((2, 2), np.inf))),
        ("says nothing", answering(W=None, lam=None, status="infeasible")),
        ("is inaccurate", answering(status="optimal_inaccurate")),
        ("says a wrong shape", answering(W=np.ones((5, 5)))),
        ("says few multipliers", answering(lam=np.ones(1))),
        ("says complex", answering(W=np.ones((2, 2)) * 1j)),
        ("says text", answering(W=np.array([["a", "b"]] * 2))),
        ("forgets W", answering(W=...)),
        ("says negative multipliers", answering(lam=-np.ones(4))),
        ("raises ValueError", answering(error=ValueError("no"))),
        ("raises KeyError", answering(error=KeyError("no"))),
        ("has no memory", answering(error=MemoryError())),
        ("panics", answering(error=RuntimeError("panic"))),
    )),
    *((f"alone, the solver {name}", partial(run, solvers=["CLARABEL"]), None) for name, run in (
        ("says 0", answering()),
        ("says infeasible", answering(W=None, lam=None, status="infeasible")),
        ("raises", answering(error=RuntimeError("panic"))),
    )),
    ("its infeasible is not believed, ours is",
     partial(answering(W=None, lam=None, status="optimal"), **CONTRADICTION, norm="nuclear"),
     False),
]
# fmt: on
TABLE = [(row, *case) for row, cases in CASES.items() for case in cases]


def outcome(run):
    """(kind, feasible or error): any answer must pass its own check and print itself."""
    try:
        s = run()
    except errors.DSFError as e:
        assert len(str(e)) > 20
        return ERROR, type(e)
    for part in (s.direction, s.finite) if hasattr(s, "direction") else (s,):
        if hasattr(part, "check"):
            assert part.check()
    assert repr(s)
    if not hasattr(s, "feasible"):
        return VALUE, VALUE
    if s.feasible is None:
        assert s.W is None and s.upper > 0.0
        return UNDECIDED, None
    if s.feasible:
        assert s.lower <= s.margin * (1 + 1e-9) and s.margin <= s.upper * (1 + 1e-9)
    return VALUE, s.feasible


def kind(expected):
    """The column of the README that an expected outcome counts in; no case propagates."""
    if isinstance(expected, type):
        return ERROR
    return UNDECIDED if expected is None else VALUE


def test_the_table_of_the_readme_says_what_comes_of_every_case():
    """The outcomes themselves are compared with the same expectation, case by case."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for number in CASES:
        cells = re.search(rf"^\| {number} \w+ \|(.+)\|$", text, re.M)[1].split("|")
        found = Counter(kind(expected) for row, _, _, expected in TABLE if row == number)
        assert [int(c) for c in cells] == [found[k] for k in (VALUE, ERROR, "", UNDECIDED)], number


def test_names_are_unique():
    names = [(row, name) for row, name, _, _ in TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "row, name, run, expected", TABLE, ids=[f"{r} {n}" for r, n, _, _ in TABLE]
)
def test_bad_input(row, name, run, expected):
    found, what = outcome(run)
    assert what is expected and found == kind(expected)


def test_the_chain_of_a_failing_solver_is_recorded():
    s = answering(error=RuntimeError("panic"))(norm="nuclear")
    assert [a.status for a in s.attempts[1:]] == ["failed: RuntimeError: panic"] * 2
    assert s.gap > 1e-6 and "misses the goal" in repr(s)
    s = answering(W=np.ones((5, 5)))(norm="nuclear")
    assert "an answer of shape (5, 5)" in s.attempts[-1].status


def test_long_sweeps_look_at_the_clock():
    from dsf.solvers.svm.coordinate_ascent import coordinate_ascent

    G = np.array([[1.0, 0.0], [-1.0, 0.0]])  # infeasible: the sweeps would go on
    assert coordinate_ascent(G @ G.T, np.ones(2), time_limit=0.0) is None


def test_threads_get_the_same_answers():
    """Solving and checking at once; the precision of Arb and numpy's error state are shared."""
    cases = [{}, {"norm": "nuclear"}, scaled(0, 1e-6), opposite(1e-9), CONTRADICTION]
    expected = [(s.feasible, s.value) for s in (svm(**c) for c in cases)]
    wrong = []

    def work():
        for _ in range(3):
            for case, want in zip(cases, expected, strict=True):
                s = svm(**case)
                if (s.feasible, s.value) != want or not s.check():
                    wrong.append((case, s))

    threads = [threading.Thread(target=work) for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cvxpy's; the filters are global
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not wrong
