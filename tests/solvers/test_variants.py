"""Prompts, several tokens, token graphs, sequences, selections: values and certificates."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.core.certificate import Strength
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
from dsf.solvers.svm.equalities import independent, least_norm
from dsf.solvers.svm.instances import draw, named
from dsf.solvers.svm.problem import MarginProblem


# -------------------------------------------------------------------- prompts
def test_single_input_prompts():
    """Two-dimensional keys; selecting token 0 costs |p|^2/2 = 0.4950495, token 1 costs 0.5."""
    X = np.array([[[-0.1, 1.0, 1.0], [1.0, 0.0, 0.9], [0.0, 0.0, 0.9]]])
    keys = X * [1.0, 1.0, 0.0]
    first = prompt_svm(keys, [0])
    assert np.allclose(first.W[:, 0], [-0.0990099, 0.990099, 0.0], atol=5e-8)
    assert abs(first.value**2 / 2 - 0.4950495) < 5e-8 and first.check()
    keys[0, 2] = 0.0
    second = prompt_svm(keys, [1])
    assert np.allclose(second.W[:, 0], [1.0, 0.0, 0.0]) and abs(second.value**2 / 2 - 0.5) < 1e-12


@pytest.mark.parametrize(
    "height, p, half_square, support",
    [(1.0, (4 / 3, 1 / 3), 0.944444, [1, 1, 1]), (1.5, (1.0, 0.0), 0.5, [1, 1, 0])],
)
def test_joint_training_tight_and_relaxed(height, p, half_square, support):
    X = [[[0, 0], [1, 1]], [[0, 0], [1, -1]], [[0, 0], [0.5, height]]]
    joint = joint_prompt_svm(X, [1, -1, 1], [1, 1, 1])
    assert np.allclose(joint.v.W[:, 0], [0.0, 1.0]) and abs(joint.label_margin - 1.0) < 1e-12
    assert np.allclose(joint.p.W[:, 0], p) and joint.support.tolist() == [bool(x) for x in support]
    assert abs(joint.p.value**2 / 2 - half_square) < 5e-7 and joint.check()


def test_a_relaxed_row_is_met_exactly():
    X = np.array([[[0, 0], [1, 1]], [[0, 0], [1, -1]], [[0, 0], [-0.2, 1.5]]])
    s = prompt_svm(X, [1, 1, 1], strict=np.array([True, True, False]))
    assert s.check() and abs(s.problem.margins(s.W)[2]) < 1e-13
    free = prompt_svm(X[:2], [1, 1])
    assert s.value > free.value + 1e-3


@given(st.integers(0, 10**6))
def test_prompt_is_the_attention_svm_with_one_query(seed):
    rng = np.random.default_rng(seed)
    X, best = rng.standard_normal((3, 4, 5)), rng.integers(0, 4, 3)
    z = rng.standard_normal(5)
    s, p = attention_svm(X, np.tile(z, (3, 1)), best), prompt_svm(X, best)
    assert s.feasible == p.feasible
    if s.feasible:
        assert np.allclose(s.W, p.W @ z[None] / (z @ z), atol=1e-9 * s.value)


@given(st.integers(0, 10**6))
def test_classifier_against_its_conditions(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((6, 4)), rng.choice([-1.0, 1.0], 6)
    s = classifier_svm(x, y)
    assert s.check()
    if s.feasible:
        assert (y * (x @ s.W[:, 0])).min() >= 1.0 - 1e-12
        assert np.allclose((y * s.multipliers) @ x, s.W[:, 0], atol=1e-9 * s.value)


# ------------------------------------------------------------- several tokens
def test_default_of_the_kept_tokens():
    rng = np.random.default_rng(0)
    X, z = rng.standard_normal((2, 4, 6)), rng.standard_normal((2, 6))
    s = np.array([[0.6, 0.4 - 2e-7, 1e-7, 1e-7], [1e-9, 1.0, 1e-9, 1e-9]])
    g = gen_svm(X, z, np.log(s))
    assert g.direction.problem.equality.sum() == 1 and g.check()
    gap = (X[0, 0] - X[0, 1]) @ g.finite.W @ z[0]
    assert abs(gap - np.log(s[0, 0] / s[0, 1])) < 1e-12
    with_logits = gen_svm(X, z, np.log(s) + 7.0)
    assert np.array_equal(with_logits.direction.W, g.direction.W)


@pytest.mark.solver
def test_direction_against_clarabel():
    rng = np.random.default_rng(1)
    X, z = rng.standard_normal((3, 5, 6)), rng.standard_normal((3, 6))
    kept = np.zeros((3, 5), dtype=bool)
    kept[:, :2] = True
    logs = np.where(kept, 0.3, -40.0)
    a, b = gen_svm(X, z, logs), gen_svm(X, z, logs, solvers=["CLARABEL"])
    assert a.direction.gap < 1e-8 and b.direction.gap < 1e-6 and b.check()
    assert abs(a.direction.value / b.direction.value - 1.0) <= a.direction.gap + b.direction.gap


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_least_norm_is_the_pseudo_inverse(seed, N):
    rng = np.random.default_rng(seed)
    n = np.arange(N)
    problem = MarginProblem(
        rng.standard_normal((N, 4)),
        rng.standard_normal((N, 3)) * 10.0 ** rng.uniform(-3, 3),
        n,
        np.full(N, -1),
        n,
        np.zeros(N),
        np.ones(N, dtype=bool),
    )
    target = rng.standard_normal(N)
    found = least_norm(problem, target)
    W = np.linalg.pinv(problem.matrix()) @ target
    assert np.allclose(found.W.ravel(), W, atol=1e-8 * np.linalg.norm(W))
    assert found.lower <= found.upper <= found.lower * (1 + 1e-8) and found.check()


def test_dependent_equalities_are_dropped():
    keys = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    problem = MarginProblem.of(
        keys, np.ones((1, 1)), [0, 1, 2, 2, 0], [3, 3, 3, 2, 3], [0] * 5,
        [0, 0, 0, 0, 1], [True, True, True, True, False],
    )  # fmt: skip
    rest = independent(problem)
    assert rest.equality.sum() == 2 and rest.size == 3


def test_printouts():
    i = named("A")
    g = gen_svm(i.X, i.z, np.log([[0.5, 0.5 - 1e-9, 1e-9], [1e-9, 0.1, 0.9]]))
    assert "|cos(W_fin, W_mm)|" in repr(g) and "LeastNorm(W [2 2], 2 equalities)" in repr(g)
    assert "without equalities W = 0" in repr(
        gen_svm(i.X, i.z, np.log([[1, 1e-9, 1e-9]] * 2)).finite
    )
    found = local_optimality(i.X, i.z, [0, 2], i.scores)
    assert "not locally optimal" in repr(found) and "token 1 of sample 0" in repr(found)
    assert "cannot be separated" in repr(
        local_optimality(*(lambda d: (d.X, d.z, d.optimal, d.scores))(named("D")))
    )
    assert repr(g.direction.problem) == "MarginProblem(W [2 2], 2 inequalities, 2 equalities)"
    joint = joint_prompt_svm([[[0, 0], [1, 1]], [[0, 0], [1, -1]]], [1, -1], [1, 1])
    assert "2 of 2 samples strict" in repr(joint)


# ------------------------------------------------------------------- sequences
@given(st.integers(0, 10**6))
def test_causal_rows(seed):
    rng = np.random.default_rng(seed)
    n, T, d = 2, 4, 6
    X = rng.standard_normal((n, T, d))
    best = np.array([[rng.integers(-1, k + 1) for k in range(T)] for _ in range(n)])
    best[0, T - 1] = 0
    s = causal_svm(X, best)
    rows = [
        np.outer(X[i, best[i, k]] - X[i, t], X[i, k]).ravel()
        for i in range(n)
        for k in range(T)
        for t in range(k + 1)
        if best[i, k] >= 0 and t != best[i, k]
    ]
    assert np.array_equal(s.problem.matrix(), np.array(rows)) and s.check()


def test_causal_with_the_last_position_alone():
    i = draw(0, 3, 4, 5)
    best = np.full((3, 4), -1)
    best[:, 3] = i.optimal
    s, t = causal_svm(i.X, best), attention_svm(i.X, i.X[:, 3], i.optimal)
    assert np.array_equal(s.W, t.W)


# ----------------------------------------------------------------- token graphs
def test_components_are_found_across_samples():
    contexts = [[0, 1, 4], [1, 2, 4], [2, 0, 4], [3, 0, 4], [1, 0, 3]]
    labels = [0, 1, 2, 3, 1]
    graph = priority_graph(5, contexts, labels)
    assert graph.components[4].tolist() == [0, 0, 0, 1, 2]
    # 3 beats 0, hence the whole component; everything that ever won beats 4
    assert sorted(map(tuple, np.argwhere(graph.above[4]))) == [(0, 2), (1, 0), (1, 2)]
    # numbered by their first tokens: 0, 1, 3
    assert graph.components[3].tolist() == [0, 1, -1, 2, -1]
    assert sorted(map(tuple, np.argwhere(graph.above[3]))) == [(1, 0), (1, 2)]


def test_a_path_may_go_through_any_component():
    """1 beats 0 and 0 beats 2: so 1 is above 2, although no context holds both."""
    graph = priority_graph(4, [[0, 1, 3], [0, 2, 3]], [1, 0])
    assert graph.components[3].tolist() == [0, 1, 2, 3]
    assert sorted(map(tuple, np.argwhere(graph.above[3]))) == [
        (0, 2),
        (0, 3),
        (1, 0),
        (1, 2),
        (1, 3),
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_above_is_reachability(pairs):
    """Against powers of the matrix of edges y -> x; token 5 is the last one of every context."""
    K = 6
    graph = priority_graph(K, [[y, x, 5] for y, x in pairs], [y for y, _ in pairs])
    edges = np.zeros((K, K), dtype=int)
    for y, x in pairs:
        edges[y, [y, x, 5]] = 1
    paths = np.linalg.matrix_power(np.eye(K, dtype=int) + edges, K) > 0
    component, above = graph.components[5], graph.above[5]
    assert np.array_equal(component >= 0, edges.any(axis=0) | edges.any(axis=1))
    for i, j in np.argwhere((component[:, None] >= 0) & (component[None] >= 0)):
        a, b = component[i], component[j]
        assert (a == b) == (paths[i, j] and paths[j, i])
        assert above[a, b] == (paths[i, j] and not paths[j, i])


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_graph_svm_satisfies_the_definition(seed):
    """All pairs of the definition, not only the representatives that the rows use."""
    rng = np.random.default_rng(seed)
    K, d = 5, 7
    E = rng.standard_normal((K, d))
    contexts = [rng.permutation(K)[:3].tolist() for _ in range(6)]
    labels = [c[int(rng.integers(0, 3))] for c in contexts]
    edges = {(c[-1], y, x) for c, y in zip(contexts, labels, strict=True) for x in c}
    reach = {k: np.eye(K, dtype=bool) for k in range(K)}
    for k, y, x in edges:
        reach[k][y, x] = True
    for k in range(K):
        for m in range(K):
            reach[k] |= reach[k][:, m : m + 1] & reach[k][m : m + 1]
    if all((r == r.T).all() for r in reach.values()):
        return
    s = graph_svm(E, contexts, labels)
    assert s.feasible and s.check()
    for k in range(K):
        for i, j in np.argwhere(reach[k] & ~np.eye(K, dtype=bool)):
            gap = (E[i] - E[j]) @ s.W @ E[k]
            if reach[k][j, i]:
                assert abs(gap) < 1e-9 * s.value
            else:
                assert gap >= 1.0 - 1e-9 * s.value


def test_finite_part_is_stationary():
    """Against the gradient by differences, along random directions of the span."""
    rng = np.random.default_rng(3)
    E = rng.standard_normal((5, 6))
    contexts = [[0, 1, 2, 4]] * 3 + [[1, 0, 0, 4]] * 2 + [[2, 1, 3, 4], [1, 2, 4]]
    labels = [0, 1, 2, 0, 1, 2, 1]
    W = graph_finite(E, contexts, labels)
    graph = priority_graph(5, contexts, labels)

    def value(W):
        total = 0.0
        for c, y in zip(contexts, labels, strict=True):
            inside = [x for x in c if graph.components[4, x] == graph.components[4, y]]
            a = E[inside] @ W @ E[4]
            total -= np.log(np.exp(a)[np.array(inside) == y].sum() / np.exp(a).sum())
        return total

    members = [0, 1, 2]
    assert {graph.components[4, x] for x in members} == {graph.components[4, 0]}
    for a, b in ((0, 1), (1, 2), (0, 2)):
        delta = E[a] - E[b]
        V = 1e-5 * np.outer(delta, E[4]) / (delta @ delta) / (E[4] @ E[4])
        assert abs(value(W + V) - value(W - V)) / 2e-5 < 1e-7
        assert value(W + 100 * V) > value(W) < value(W - 100 * V)


def test_no_component_no_finite_part():
    assert not graph_finite(np.eye(3), [[0, 1, 2]], [0]).any()


# ------------------------------------------------------------------- selections
def test_definition_of_local_optimality_on_random_data():
    """Against the definition with the active set read off the solution."""
    counts = {True: 0, False: 0}
    for seed in range(3):
        i = draw(seed, 3, 3, 4)
        for found in enumerate_selections(i.X, i.z, i.scores).entries:
            assert found.locally_optimal is not None and found.check()
            if found.solution.W is None:
                assert found.locally_optimal is False
                continue
            chosen = np.array(found.selection)
            active = np.zeros((3, 3), dtype=bool)
            active[np.arange(3) != chosen[:, None]] = found.solution.active
            best = i.scores[np.arange(3), chosen][:, None]
            assert found.locally_optimal == bool(np.all(~active | (i.scores < best)))
            counts[found.locally_optimal] += 1
    assert min(counts.values()) > 5


def test_a_tie_with_an_active_rival_is_not_locally_optimal():
    i = named("A")
    scores = np.ones((2, 3))
    assert local_optimality(i.X, i.z, [2, 2], scores).locally_optimal is False


def test_infeasible_selection_is_not_locally_optimal():
    i = named("D")
    found = local_optimality(i.X, i.z, i.optimal, i.scores)
    assert found.locally_optimal is False and found.certificate.strength is Strength.EXACT


def test_sampled_enumeration_says_so():
    i = named("B")
    found = enumerate_selections(i.X, i.z, i.scores, sample=5, seed=1)
    assert found.sampled and found.total == 8**6 and len(found.entries) == 5
    assert found.strength is Strength.SAMPLED and "5 sampled of 262144" in repr(found)
    again = enumerate_selections(i.X, i.z, i.scores, sample=5, seed=1)
    assert [e.selection for e in again.entries] == [e.selection for e in found.entries]


def test_a_raised_limit_is_obeyed():
    i = draw(0, 2, 3, 4)
    from dsf.core.errors import TooManySelectionsError

    with pytest.raises(TooManySelectionsError):
        enumerate_selections(i.X, i.z, i.scores, limit=8)
    assert len(enumerate_selections(i.X, i.z, i.scores, limit=9).entries) == 9
