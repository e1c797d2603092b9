"""Normalised descent: the compiled path, its slow twin, and what stays finite far out."""

from __future__ import annotations

import time

import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError
from dsf.solvers import attention_svm
from dsf.solvers.dynamics.descent import descend, descend_factors, descend_plainly, scaled_gradient
from dsf.solvers.dynamics.outcomes import classify
from dsf.solvers.svm.instances import LOSSES, draw, equal_scores, gradient, named

# 1 - corr with the Frobenius solution after 100, 1000, 10000, 100000 steps of 0.1 from zero
RATES = {
    "A": (1.133e-2, 1.622e-4, 1.581e-6, 1.576e-8),
    "B": (2.212e-1, 5.075e-3, 7.048e-5, 7.226e-7),
    "C": (1.379e-1, 3.064e-3, 3.102e-5, 3.086e-7),
}


def several(count: int, n: int, T: int, d: int, seed: int = 0):
    runs = [draw(seed + s, n, T, d) for s in range(count)]
    return tuple(np.array([getattr(i, k) for i in runs]) for k in ("X", "z", "scores"))


def off(W: np.ndarray, target: np.ndarray) -> float:
    """1 - corr, without cancellation."""
    return 0.5 * np.sum((W / np.linalg.norm(W) - target / np.linalg.norm(target)) ** 2)


@given(
    st.integers(0, 10**6), st.floats(-2, 1), st.integers(1, 5), st.integers(1, 5),
    st.sampled_from(LOSSES),
)  # fmt: skip
def test_the_scaled_gradient_is_the_gradient(seed, log_norm, n, T, kind):
    i = draw(seed, n, T, 4)
    W = np.random.default_rng(seed).standard_normal((4, 4))
    W *= 10.0**log_norm / np.linalg.norm(W)
    G, shift = scaled_gradient(W[None], i.X[None], i.z[None], i.scores[None], kind)
    plain = gradient(W, i.X, i.z, i.scores, kind)
    assert np.allclose(G[0] * np.exp(shift[0]), plain, rtol=1e-8, atol=1e-15)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
def test_fast_path_and_slow_twin(seed, n, T, d):
    data = several(3, n, T, d, seed)
    W0 = np.random.default_rng(seed).standard_normal((3, d, d))
    fast = descend(W0, *data, record=(30,))[:, 0]
    assert np.allclose(fast, descend_plainly(W0, *data, steps=30), atol=1e-9)


@given(st.integers(0, 10**6))
def test_factors_follow_their_own_formula(seed):
    X, z, scores = several(1, 3, 4, 5, seed)
    rng = np.random.default_rng(seed)
    K, Q = rng.standard_normal((2, 1, 5, 2))
    fast_K, fast_Q = descend_factors(K, Q, X, z, scores, record=(0, 10))
    assert np.array_equal(fast_K[:, 0], K) and np.array_equal(fast_Q[:, 0], Q)
    K, Q = K[0], Q[0]
    for _ in range(10):
        G, _ = scaled_gradient((K @ Q.T)[None], X, z, scores)
        toward_K, toward_Q = G[0] @ Q, G[0].T @ K
        K = K - 0.1 * toward_K / np.linalg.norm(toward_K)
        Q = Q - 0.1 * toward_Q / np.linalg.norm(toward_Q)
    assert np.allclose(fast_K[0, 1], K, atol=1e-9) and np.allclose(fast_Q[0, 1], Q, atol=1e-9)


@pytest.mark.parametrize("name", RATES)
def test_table_of_rates(name):
    i = named(name)
    target = attention_svm(i.X, i.z, i.optimal).W
    start = np.zeros((1, *target.shape))
    steps = (100, 1000, 10_000, 100_000)
    W = descend(start, i.X[None], i.z[None], i.scores[None], record=steps)[0]
    found = [off(w, target) for w in W]
    assert np.allclose(found, RATES[name], rtol=0.01)
    assert 0.99e4 < np.linalg.norm(W[-1]) <= 1e4 + 1e-6


@given(st.integers(0, 10**6), st.floats(0, 4))
def test_a_step_has_its_length_at_any_norm(seed, log_norm):
    """Where the plain gradient is zero in floating point, too."""
    data = several(1, 4, 5, 6, seed)
    W0 = np.random.default_rng(seed).standard_normal((1, 6, 6))
    W0 *= 10.0**log_norm / np.linalg.norm(W0)
    W = descend(W0, *data, record=(1,))[:, 0]
    assert abs(np.linalg.norm(W - W0) - 0.1) < 1e-9


def test_the_published_normaliser_stalls():
    """G/(|G| + 2^-52) with the plain gradient stops growing where |G| meets the machine epsilon."""
    i = draw(0, 6, 8, 10)
    W = np.zeros((10, 10))
    for _ in range(2000):
        G = gradient(W, i.X, i.z, i.scores)
        W -= 0.1 * G / (np.linalg.norm(G) + 2.0**-52)
    stable = descend(np.zeros((1, 10, 10)), i.X[None], i.z[None], i.scores[None], record=(2000,))
    assert np.linalg.norm(W) < 0.75 * np.linalg.norm(stable)


@pytest.mark.parametrize("norm", [1.0, 30.0, 3000.0])
def test_tied_tokens_do_not_hide_the_gradient(norm):
    """The leader ties with the runner-up; the token that moves W lies far below both."""
    X = np.array([[[1.0, 0.0], [0.999, 0.0], [0.0, 1.0]]])
    z, scores = np.ones((1, 1)), np.array([[0.0, 0.0, 1.0]])
    W0 = np.array([[[norm], [0.0]]])
    W = descend(W0, X[None], z[None], scores[None], record=(1,))[:, 0]
    assert abs(np.linalg.norm(W - W0) - 0.1) < 1e-9
    assert np.allclose(W, descend_plainly(W0, X[None], z[None], scores[None], steps=1), atol=1e-12)


def test_nothing_moves_where_the_gradient_is_zero():
    i = draw(0, 2, 1, 3)
    start = np.ones((1, 3, 3))
    W = descend(start, i.X[None], i.z[None], i.scores[None], record=(5,))
    assert np.array_equal(W[:, 0], start)
    tied = np.zeros((1, 2, 3))
    i = draw(0, 2, 3, 3)
    assert np.array_equal(descend(start, i.X[None], i.z[None], tied, record=(5,))[:, 0], start)


def exact_direction(W, X, z, scores):
    """-grad L/|grad L| with 40 digits, from X'(diag(s) - ss')gamma as a sum over pairs of tokens:

    sum_{t < u} s_t s_u (gamma_t - gamma_u)(x_t - x_u), which does not cancel.
    """
    with mpmath.workdps(40):
        W, total = mpmath.matrix(W.tolist()), mpmath.zeros(*W.shape)
        for x, q, g in zip(X, z, scores, strict=True):
            x, q = [mpmath.matrix(v.tolist()) for v in x], mpmath.matrix(q.tolist())
            a = [(v.T * W * q)[0] for v in x]
            w = [mpmath.exp(v - max(a)) for v in a]
            s = [v / mpmath.fsum(w) for v in w]
            m = mpmath.fsum(p * mpmath.mpf(k) for p, k in zip(s, g, strict=True))
            for t in range(len(x)):
                for u in range(t):
                    gap = s[t] * s[u] * (mpmath.mpf(g[t]) - mpmath.mpf(g[u]))
                    total += gap / (1 + mpmath.exp(m)) * (x[t] - x[u]) * q.T
        return np.array((total / mpmath.norm(total)).tolist(), dtype=float)


@pytest.mark.parametrize("size", [1.0, 1e2, 1e4, 1e8])
@pytest.mark.parametrize("along", ["a random matrix", "the solution"])
def test_the_direction_is_right_at_any_norm(size, along):
    """Along the solution all support vectors compete, so the rounding u |W| of the scores shows."""
    i = named("B")
    W = attention_svm(i.X, i.z, i.optimal).W
    if along == "a random matrix":
        W = np.random.default_rng(1).standard_normal(W.shape)
    W = size * W / np.linalg.norm(W)
    exact = exact_direction(W, i.X, i.z, i.scores)
    G, _ = scaled_gradient(W[None], i.X[None], i.z[None], i.scores[None])
    step = (W - descend(W[None], i.X[None], i.z[None], i.scores[None], record=(1,))[0, 0]) / 0.1
    allowed = 2.0**-53 * (100 + 10 * size)
    assert np.linalg.norm(-G[0] / np.linalg.norm(G) - exact) < allowed
    # W - step is rounded to the spacing of W
    assert np.linalg.norm(-step - exact) < allowed + 100 * 2.0**-53 * size


@pytest.mark.parametrize("factor, offset", [(1.0, 1e6), (1.0, 1e9), (700.0, 0.0), (1e5, 0.0)])
def test_offsets_of_tokens_and_sizes_of_scores(factor, offset):
    """A common offset of the tokens changes nothing; slopes of the loss below 1e-308 neither."""
    i = named("B")
    W = np.random.default_rng(2).standard_normal((10, 10))
    X = np.round(i.X * 2**20) / 2**20 + offset  # the offset itself is then nearly exact
    scores = factor * (i.scores + 1.0)
    exact = exact_direction(W, X, i.z, scores)
    G, _ = scaled_gradient(W[None], X[None], i.z[None], scores[None])
    assert np.linalg.norm(-G[0] / np.linalg.norm(G) - exact) < 1e-13 * max(factor, offset)
    moved = descend(W[None], X[None], i.z[None], scores[None], record=(1,))[0, 0]
    assert np.allclose(moved, W - 0.1 * G[0] / np.linalg.norm(G), atol=1e-6)


def test_long_runs_under_equal_scores_stay_finite():
    runs = [draw(s, 4, 5, 6) for s in range(4)]
    X, z = np.array([i.X for i in runs]), np.array([i.z for i in runs])
    scores = np.array([equal_scores(i, -2.0) for i in runs])
    start = 3.0 * np.random.default_rng(0).standard_normal((4, 6, 6))
    W = descend(start, X, z, scores, record=(20_000,))
    assert np.isfinite(W).all() and np.linalg.norm(W, axis=(2, 3)).min() > 100


def test_outcomes_of_instance_a():
    i = named("A")
    ends = {(2, 2): "GLOBAL", (1, 2): "LOCAL", (0, 2): "NOT_LOCAL"}
    for selection, name in ends.items():
        W = 100 * attention_svm(i.X, i.z, np.array(selection)).W
        found = classify(W, i.X, i.z, i.scores)
        assert (found.outcome.name, found.selection) == (name, selection)
        assert found.correlation > 1 - 1e-12
    assert classify(np.zeros((2, 2)), i.X, i.z, i.scores).outcome.name == "UNCLASSIFIED"


@pytest.mark.solver
def test_outcomes_by_the_nuclear_solution():
    """Instance A: the best tokens stay global; (0, 2) is not local in this norm either."""
    i = named("A")
    for selection, name in {(2, 2): "GLOBAL", (0, 2): "NOT_LOCAL"}.items():
        W = 100 * attention_svm(i.X, i.z, np.array(selection), norm="nuclear").W
        found = classify(W, i.X, i.z, i.scores, "nuclear")
        assert (found.outcome.name, found.selection) == (name, selection)
        assert found.correlation > 1 - 1e-6


def test_classification_of_shared_best_scores():
    """Tokens 1 and 2 share the best score: attending to either is global."""
    X, z = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), np.ones((1, 1))
    scores = np.array([[0.0, 1.0, 1.0]])
    for W in ([[50.0], [0.0]], [[0.0], [50.0]]):
        assert classify(np.array(W), X, z, scores).outcome.name == "GLOBAL"


def test_classification_of_one_token():
    found = classify(np.ones((2, 1)), np.ones((3, 1, 2)), np.ones((3, 1)), np.zeros((3, 1)))
    assert found.outcome.name == "GLOBAL" and found.selection == (0, 0, 0)
    assert np.isnan(found.correlation)


def test_classification_of_bad_input():
    i = named("A")
    for bad in (np.full((2, 2), np.nan), np.array([[np.inf, 0.0], [0.0, 0.0]])):
        with pytest.raises(NonFiniteError, match="`W` must be finite"):
            classify(bad, i.X, i.z, i.scores)
    with pytest.raises(ShapeError, match="scores"):
        classify(np.eye(2), i.X, i.z, i.scores[:1])
    with pytest.raises(DomainError, match="norms"):
        classify(np.eye(2), i.X, i.z, i.scores, "l2")


def test_faster_than_numpy():
    """`benchmarks/descent.py` measures it; half the goal of 5 forgives a busy machine."""
    data = several(1, 6, 8, 10)
    W0 = np.zeros((1, 10, 10))
    descend(W0, *data, record=(2,))
    ratios = []
    for _ in range(3):
        times = []
        for run in (lambda: descend_plainly(W0, *data, steps=300),
                    lambda: descend(W0, *data, record=(300,))):  # fmt: skip
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
        ratios.append(times[0] / times[1])
    assert max(ratios) > 2.5


def test_bad_input():
    i = named("A")
    W, X, z, scores = np.zeros((1, 2, 2)), i.X[None], i.z[None], i.scores[None]
    with pytest.raises(ShapeError, match="One run still needs its axis"):
        descend(W, i.X, i.z, i.scores)
    with pytest.raises(ShapeError, match="W must be"):
        descend(W[:, :1], X, z, scores)
    with pytest.raises(ShapeError, match="descend_factors"):
        descend_factors(W, W[:, :, :1], X, z, scores)
    with pytest.raises(DomainError, match="increasing"):
        descend(W, X, z, scores, record=(5, 5))
    with pytest.raises(NonFiniteError, match="scores holds NaN"):
        descend(W, X, z, scores * np.nan)
    with pytest.raises(NonFiniteError, match="the start holds"):
        descend_factors(W + np.inf, W, X, z, scores)
    with pytest.raises(DTypeError, match="integers"):
        descend(W, X, z, scores, record=[1.7])
    with pytest.raises(DomainError, match="step size"):
        descend(W, X, z, scores, eta=0.0)
