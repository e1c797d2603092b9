"""The parts of the solvers against slow twins, balls and differences."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.solvers.svm import certify, norms
from dsf.solvers.svm.coordinate_ascent import coordinate_ascent, gram, sweep, sweep_twin
from dsf.solvers.svm.gordan import gordan_vector
from dsf.solvers.svm.instances import LOSSES, attention, draw, equal_scores, gradient, loss, named
from dsf.solvers.svm.least_distance import nnls_rows
from dsf.solvers.svm.problem import MarginProblem, attention_problem, scale


# ---------------------------------------------------------------------- twins
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 6), st.integers(1, 7))
def test_gram_matrix_is_the_product_of_the_rows(seed, n, T, d):
    i = draw(seed, n, T, d)
    rows = scale(attention_problem(i.X + 1e-3 * seed % 1, i.z, i.optimal))
    if not rows.length.all():
        return
    G = rows.matrix()
    assert np.allclose(gram(rows), G @ G.T, atol=1e-14)
    assert np.allclose(rows.gram(), G @ G.T, atol=1e-14)
    assert np.allclose(np.ldexp(rows.length[:, None] * G, rows.exponent), problem_matrix(i, seed))


def problem_matrix(i, seed):
    return attention_problem(i.X + 1e-3 * seed % 1, i.z, i.optimal).matrix()


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30))
def test_compiled_sweeps_are_the_sweeps(seed, N, sweeps):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((N, N + 2))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    K, h = A @ A.T, rng.uniform(0.0, 1.0, N)
    one, two = (np.zeros(N), h.copy()), (np.zeros(N), h.copy())
    sweep(K, *one, sweeps)
    sweep_twin(K, *two, sweeps)
    assert np.allclose(one[0], two[0], atol=1e-12) and np.allclose(one[1], two[1], atol=1e-12)
    assert np.allclose(one[1], h - K @ one[0], atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_ascent_and_least_distance_solve_the_same_problem(seed, N):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((N, N + 3))
    G /= np.linalg.norm(G, axis=1, keepdims=True)
    h = rng.uniform(0.0, 1.0, N)
    h /= h.max()
    found = coordinate_ascent(G @ G.T, h)
    lam = np.zeros(N)
    lam[found.support] = found.lam
    other, _ = nnls_rows(G, h)
    assert np.allclose(lam @ G, other @ G, atol=1e-8)


def test_ascent_gives_up_on_infeasible_rows():
    G = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert coordinate_ascent(G @ G.T, np.ones(2)) is None
    lam, u = nnls_rows(G, np.ones(2))  # the residual may be a rounding error instead of 0
    assert lam is None or lam.min() > 1e14
    assert np.abs(u @ G).max() < 1e-15


# ----------------------------------------------------------------- proved bounds
def power_norm(A, p):
    """The entrywise p-norm as a ball, p given exactly."""
    import flint

    with flint.ctx.workprec(300):
        p = flint.arb(p)
        total = sum((abs(flint.arb(float(x))) ** p for x in A.ravel() if x != 0), flint.arb(0))
        return total ** (1 / p) if A.any() else flint.arb(0)


def singular_values(A):
    """To 60 digits: exact for a comparison with floats."""
    import mpmath

    with mpmath.workdps(60):
        return sorted(mpmath.svd_r(mpmath.matrix(A.tolist()), compute_uv=False), reverse=True)


def not_below(bound, exact):
    """bound >= exact without any slack, against a number of 60 digits."""
    import mpmath

    with mpmath.workdps(60):
        return mpmath.mpf(bound) >= exact * (1 - mpmath.mpf(10) ** -45)


@st.composite
def matrices(draw, spread=8.0):
    """Entries of many magnitudes, near 1 or near either end of the range of floats."""
    seed, d, e = draw(st.integers(0, 10**6)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    k = draw(st.sampled_from([0, 0, 300, -300, 1015, -1000, -1045, -1065]))
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((d, e)) * 10.0 ** rng.uniform(-spread, 0, (d, e))
    return np.ldexp(A, k)


TINY = 2.0**-999  # what is added for underflow may be all of a bound that small


@pytest.mark.rigor
@given(matrices(), st.sampled_from([1.0000001, 1.25, 1.75, 17.0, 1e5]))
def test_entrywise_norms_from_above(A, p):
    import flint

    size, exact = power_norm(A, 2.0), power_norm(A, p)
    assert flint.arb(norms.upper(A, "frobenius")) >= size.lower()
    assert norms.upper(A, "frobenius") <= float(size) * (1 + 1e-13) + 1e-322
    assert flint.arb(norms.upper(A, "entrywise", p)) >= exact.lower()
    assert norms.upper(A, "entrywise", p) <= float(exact) * (1 + 1e-11) + TINY


@pytest.mark.rigor
@given(matrices())
def test_singular_values_from_above(A):
    """Both those of the finder and those of the checker."""
    import flint
    import mpmath

    from dsf.solvers.svm.check import balls as _balls

    exact = singular_values(A)
    with mpmath.workdps(60):
        total = mpmath.fsum(exact)
    with flint.ctx.workprec(_balls.BITS):
        found = _balls.singular_bounds(_balls.matrix(A))
        found.append(_balls.upper_norm(A, "nuclear", None))
    with mpmath.workdps(60):  # exactly
        *checker, upper = (mpmath.ldexp(*map(int, x.man_exp())) for x in found)
    slack = max(exact) * 1e-13 + TINY
    for bounds in (norms.singular_upper(A), checker):
        assert all(map(not_below, bounds, exact))
        assert all(b <= x + slack for b, x in zip(bounds, exact, strict=True))
    for bound in (norms.upper(A, "nuclear"), upper):
        assert not_below(bound, total) and bound <= total + 5 * slack


def test_singular_vectors_of_another_length(monkeypatch):
    """U is too long by a thousandth and S too short: U S V' is A, and the bounds still hold."""
    svd, A = np.linalg.svd, np.random.default_rng(0).standard_normal((4, 3))
    exact = svd(A, compute_uv=False)

    def stretched(G, **options):
        U, S, Vt = svd(G, **options)
        return 1.001 * U, S / 1.001, Vt

    monkeypatch.setattr(np.linalg, "svd", stretched)
    assert np.all(norms.singular_upper(A) >= exact)
    assert norms.upper(A, "nuclear") >= exact.sum()


@pytest.mark.rigor
@given(matrices(spread=1.0), st.floats(0.0, 1.0), st.sampled_from([1.25, 1.75, 17.0]))
def test_dual_norms_hold_for_all_matrices_within_the_error(G, size, p):
    import flint

    error = size * np.abs(G).max() * np.random.default_rng(0).uniform(0.0, 1.0, G.shape)
    if np.abs(G).max() < 1e-290:  # there the rounding of this test's own sums shows
        return
    worst = G + np.where(G < 0.0, -error, error) * (1 - 1e-15)
    q = float(flint.arb(p) / (flint.arb(p) - 1))
    exact = {"frobenius": power_norm(worst, 2.0), "entrywise": power_norm(worst, q)}
    for norm, value in exact.items():
        bound = norms.dual_upper(G, error, norm, p)
        assert bound >= float(value) * (1 - 1e-14)
        assert bound <= float(value) * (1 + 1e-10)
    assert not_below(norms.dual_upper(G, error, "nuclear"), singular_values(worst)[0])


@pytest.mark.parametrize("k", range(-1074, 1024, 61))
def test_norms_of_one_entry(k):
    """At every magnitude, subnormal and huge: never below the entry, and no warning."""
    for x in (np.ldexp(1.0, k), np.ldexp(1.9, k), np.ldexp(-1.0 - 2.0**-52, k)):
        A = np.array([[x]])
        found = [norms.upper(A, n) for n in ("frobenius", "nuclear")]
        found += [norms.upper(A, "entrywise", 3.0), norms.singular_upper(A)[0]]
        assert all(abs(x) <= bound for bound in found)


def test_norms_beyond_the_range_of_floats_are_infinite():
    A = np.full((4, 4), 1.7e308)
    for norm, p in (("frobenius", None), ("nuclear", None), ("entrywise", 1.5)):
        assert norms.upper(A, norm, p) == np.inf
    for bad in (np.inf, np.nan):
        B = np.array([[1.0, bad]])
        assert norms.upper(B, "frobenius") == np.inf == norms.upper(B, "entrywise", 1.5)


# ------------------------------------------------------- rivals that cannot be active
@given(st.integers(0, 10**6), st.floats(1e-6, 0.5))
def test_a_rival_of_the_support_is_never_inactive(seed, more):
    """W longer than it need be exceeds every row; its distance from the optimum is what tells."""
    from dataclasses import replace

    from dsf.solvers import attention_svm
    from dsf.solvers.svm.selections import inactive

    i = draw(seed, 2, 4, 5)
    s = attention_svm(i.X, i.z, i.optimal)
    known = inactive(s, s.W)
    loose = replace(s, W=s.W * (1 + more), value=s.value * (1 + more), lower=s.lower / (1 + more))
    found = inactive(loose, loose.W)
    support = s.multipliers > 1e-6 * s.multipliers.max()
    assert not np.any(found & support) and not np.any(known & support)
    assert np.all(known | ~found)  # a longer W shows less


@given(st.integers(0, 10**6))
def test_margins_stay_within_their_error_bound(seed):
    from fractions import Fraction

    rng = np.random.default_rng(seed)
    i = draw(seed, 2, 3, 3)
    p = attention_problem(i.X * 10.0 ** rng.uniform(-9, 9), i.z, i.optimal)
    rows = scale(p)
    W = rng.standard_normal((3, 3)) * 10.0 ** rng.uniform(-5, 5, (3, 3))
    m, error = certify.margins(rows.D, rows.Z, W)
    F = np.vectorize(Fraction, otypes=[object])
    D = F(p.keys)[p.plus] - F(p.keys)[p.minus]
    exact = ((D @ F(W)) * F(p.queries)[p.query]).sum(axis=1)
    for j in range(p.size):
        assert abs(Fraction(float(m[j])) - exact[j] / Fraction(2) ** rows.exponent) <= Fraction(
            float(error[j])
        )


def test_a_distance_to_dependent_equalities_is_infinite():
    keys = np.array([[1.0, 0.0], [0.0, 0.0]])
    p = MarginProblem(
        keys, np.ones((1, 1)), np.array([0, 0]), np.array([1, 1]), np.array([0, 0]), np.zeros(2),
        np.array([True, True]),
    )  # fmt: skip
    assert certify.distance(scale(p), p.equality, np.full(2, 1e-16)) == np.inf


# --------------------------------------------------------------- Gordan vectors
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 3))
def test_gordan_vectors_are_exact(seed, d, extra):
    """Integer rows with a known positive combination 0, plus rows that do not take part."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-50, 51, (d + 1, d))
    a[-1] = -(rng.integers(1, 9, d) @ a[:-1])
    keys = np.concatenate([a, rng.integers(-50, 51, (extra, d)), np.zeros((1, d), dtype=int)])
    N = d + 1 + extra
    p = MarginProblem.of(keys, np.ones((1, 1)), np.arange(N), N, np.zeros(N, dtype=int))
    if not np.all(a.any(axis=1)) or np.linalg.matrix_rank(a) < d:
        return
    _, u = nnls_rows(*(lambda r: (r.matrix(), r.h / r.h.max()))(scale(p.rows(np.arange(d + 1)))))
    found = gordan_vector(p, np.append(np.maximum(u, 1e-300), np.zeros(extra)))
    assert found is not None
    rows, weights = found
    assert all(w > 0 for w in weights)
    total = sum(w * keys[r].astype(object) for w, r in zip(weights, rows, strict=True))
    assert not np.any(total)


def test_no_gordan_vector_of_separable_rows():
    p = MarginProblem.of(np.eye(2), np.ones((1, 1)), [0, 1], -1, [0, 0])
    assert gordan_vector(p, np.ones(2)) is None
    assert gordan_vector(p, np.array([np.nan, 1.0])) is None


# -------------------------------------------------------------------- instances
@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(LOSSES))
def test_gradient_by_differences(seed, kind):
    i = draw(seed, 3, 4, 5)
    rng = np.random.default_rng(seed)
    W, V = rng.standard_normal((2, 5, 5))
    G = gradient(W, i.X, i.z, i.scores, kind)
    e = 1e-6
    plus, minus = (loss(W + s * e * V, i.X, i.z, i.scores, kind) for s in (1, -1))
    assert abs((plus - minus) / (2 * e) - np.sum(G * V)) < 1e-8


def test_gradient_reads_like_the_formula():
    i = named("B")
    W = np.random.default_rng(0).standard_normal((10, 10))
    total = np.zeros((10, 10))
    for x, z, g in zip(i.X, i.z, i.scores, strict=True):
        s = np.exp(x @ W @ z)
        s /= s.sum()
        slope = -1.0 / (1.0 + np.exp(s @ g))
        total += slope * np.outer(x.T @ (np.diag(s) - np.outer(s, s)) @ g, z) / 6
    assert np.allclose(gradient(W, i.X, i.z, i.scores), total, atol=1e-15)


def test_attention_is_stable_for_huge_weights():
    i = named("B")
    s = attention(1e6 * np.ones((10, 10)), i.X, i.z)
    assert np.all(np.isfinite(s)) and np.allclose(s.sum(axis=1), 1.0)


def test_equal_scores_keep_the_optimal_token():
    i = named("B")
    g = equal_scores(i, -2.0)
    assert np.array_equal(g.argmax(axis=1), i.optimal) and np.sum(g == -2.0) == 42
