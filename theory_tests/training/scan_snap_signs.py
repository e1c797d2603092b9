"""Distinct tokens gain attention, common tokens lose it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.dynamics.scan_snap import Classes, example, full_flow, pull

statement = (
    "z_m' = eta_Z gamma sum_n diag(f_n) sum_{n' != n} beta (f_n f_n' - I) f_n'. So the logit of a "
    "distinct token always rises, and that of a single common token falls if the class has a "
    "distinct token too. With several common tokens one of them can rise."
)
reference = "tian2023, theorem 2; the case of several common tokens is added here"
falsified_by = "a distinct token that falls, a single common token that rises"


def draw(seed: int, K: int, common: int, distinct: int) -> Classes:
    """K classes over `common` shared and `distinct` own tokens each, random probabilities."""
    rng = np.random.default_rng(seed)
    P = np.zeros((K, common + K * distinct))
    for n in range(K):
        own = np.arange(common + n * distinct, common + (n + 1) * distinct)
        P[n, np.r_[:common, own]] = rng.dirichlet(np.full(common + distinct, 0.5)) + 1e-3
    return Classes(P / P.sum(1, keepdims=True))


def theorem(c: np.ndarray) -> np.ndarray:
    """The equation as the theorem writes it, in units of eta_Z gamma, one query per class."""
    f = c / np.linalg.norm(c, axis=1, keepdims=True)
    K, M = c.shape
    beta = K / (K - 1) ** 2
    z = np.zeros_like(c)
    for n in range(K):
        for other in set(range(K)) - {n}:
            away = np.outer(f[n], f[n]) - np.eye(M)
            z[n] += beta * np.diag(f[n]) @ away @ f[other]
    return z


def claim(seed: int = 0, K: int = 4, common: int = 3, distinct: int = 3):
    """The velocity that the flows use, against the theorem."""
    classes = draw(seed, K, common, distinct)
    c = classes.attention(np.random.default_rng(seed).standard_normal(classes.P.shape))
    return pull(c)[0], theorem(c), 1e-14


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(0, 4), st.integers(1, 4))
def test_equation(seed: int, K: int, common: int, distinct: int) -> None:
    computed, theory, tolerance = claim(seed, K, common, distinct)
    np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 4), st.integers(1, 4))
def test_signs(seed: int, K: int, common: int, distinct: int) -> None:
    """Everywhere in the space of logits, not only along a flow."""
    classes = draw(seed, K, common, distinct)
    c = classes.attention(np.random.default_rng(seed + 1).standard_normal(classes.P.shape))
    z, xi = pull(c)
    used = classes.P > 0
    assert np.all(xi > 0) and np.all(z[used & ~classes.common] > 0)
    if common == 1:
        assert np.all(z[used & classes.common] < 0)


def test_a_common_token_alone_in_its_class_rests() -> None:
    """The distinct token is needed: without it f_n is one-hot and nothing moves."""
    z, _ = pull(np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert z[0, 0] == 0 and z[1, 0] < 0 < z[1, 1]


def test_two_common_tokens_need_not_both_fall() -> None:
    """One that the other class hardly uses gains at the expense of one it uses much."""
    z, _ = pull(np.array([[0.45, 0.45, 0.1, 0.0], [0.98, 0.01, 0.0, 0.01]]))
    assert z[0, 0] < 0 < z[0, 1]


@pytest.mark.parametrize("eta_Y", [1.0, 10.0, 100.0])
@pytest.mark.parametrize(
    ("query", "outputs"), [((0, 1, 2, 3), 4), ((0, 0, 1, 1), 4), ((0, 0, 0, 0), 40)]
)
def test_signs_hold_at_all_times_of_the_full_flow(
    eta_Y: float, query: tuple[int, ...], outputs: int
) -> None:
    """Every logit moves one way only, with own or shared queries and with unused outputs."""
    classes = example()
    t = np.append(0.0, np.geomspace(1e-2, 1e5, 150))
    steps = np.diff(full_flow(classes, eta_Y, 1.0, t, np.array(query), outputs).z, axis=0)
    used = classes.P > 0
    assert np.all(steps[:, used & classes.common] < 0)
    assert np.all(steps[:, used & ~classes.common] > 0)
