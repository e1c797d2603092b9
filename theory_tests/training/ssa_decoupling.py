"""Two close queries that need different sharpness force large weights, unless each has a scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import tempered

statement = (
    "If the logits q'W k of two keys u, v differ by G1 for the query a and by G2 for b, then "
    "|W|_2 >= |G1 - G2| / (|k_u - k_v| |a - b|). For unit queries the least |W|_2 is exactly "
    "sqrt(((G1-G2)/|a-b|)^2 + ((G1+G2)/|a+b|)^2) / |k_u - k_v|. With temperatures G1 and G2 one W "
    "with gap 1 serves both; only tau W counts, so |W| alone means nothing while tau is free."
)
reference = "zhang2024 (arXiv 2411.12892) for the idea; bound and least norm are derived here"
falsified_by = "a smaller W that gives both gaps"


def least(a: np.ndarray, b: np.ndarray, keys: np.ndarray, gaps: tuple[float, float]) -> np.ndarray:
    """The W [d d] of least |W|_2 with a'W k = G1 and b'W k = G2 for the difference k of the keys:
    W'a and W'b need these components along k, so W = w k'/|k|^2 with w of least norm."""
    w = np.linalg.pinv(np.stack([a, b])) @ np.array(gaps)
    return np.outer(w, keys) / (keys @ keys)


def closed(a: np.ndarray, b: np.ndarray, keys: np.ndarray, gaps: tuple[float, float]) -> float:
    minus = (gaps[0] - gaps[1]) / np.linalg.norm(a - b)
    plus = (gaps[0] + gaps[1]) / np.linalg.norm(a + b)
    return float(np.hypot(minus, plus) / np.linalg.norm(keys))


def pair(distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors in the plane at a distance."""
    a = np.array([distance / 2, np.sqrt(1 - distance**2 / 4)])
    return a, a * [-1, 1]


KEYS = np.array([1.0, -1.0])  # difference of two orthogonal unit keys


def claim(distance: float = 0.1, gaps: tuple[float, float] = (8.0, 1.0)):
    """|W|_2 of the least W against the closed form."""
    a, b = pair(distance)
    W = least(a, b, KEYS, gaps)
    theory = closed(a, b, KEYS, gaps)
    return np.linalg.norm(W, 2), theory, 1e-12 * theory


@pytest.mark.parametrize(
    ("distance", "found", "bound", "with_tau"),
    [(0.5, 10.4, 9.9, 0.73), (0.1, 49.6, 49.5, 0.71), (0.02, 247.5, 247.5, 0.71)],
)
def test_near_queries_with_other_gaps(distance, found, bound, with_tau) -> None:
    computed, theory, tolerance = claim(distance)
    assert abs(computed - theory) <= tolerance
    lower = 7 / (np.sqrt(2) * distance)
    assert computed > lower
    assert computed == pytest.approx(found, abs=0.051) and lower == pytest.approx(bound, abs=0.051)
    # tau = (8, 1) leaves the gap 1 to both queries
    assert claim(distance, (1.0, 1.0))[0] == pytest.approx(with_tau, abs=5e-3)


@given(st.integers(0, 2**31), st.floats(-10, 10), st.floats(-10, 10))
def test_no_matrix_with_these_gaps_is_smaller(seed: int, G1: float, G2: float) -> None:
    rng = np.random.default_rng(seed)
    a, b, keys = rng.standard_normal((3, 4))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    W = least(a, b, keys, (G1, G2))
    np.testing.assert_allclose([a @ W @ keys, b @ W @ keys], [G1, G2], atol=1e-8)
    size = np.linalg.norm(W, 2)
    assert size == pytest.approx(closed(a, b, keys, (G1, G2)), rel=1e-8, abs=1e-10)
    bound = abs(G1 - G2) / (np.linalg.norm(keys) * np.linalg.norm(a - b))
    assert size >= bound * (1 - 1e-9)
    # every other solution is W + N with a'N k = b'N k = 0
    N = rng.standard_normal((4, 4))
    N -= least(a, b, keys, (a @ N @ keys, b @ N @ keys))
    assert np.linalg.norm(W + N, 2) >= size * (1 - 1e-9)


def test_only_the_product_of_temperature_and_weights_counts() -> None:
    rng = np.random.default_rng(0)
    s, tau = rng.standard_normal((5, 7)), rng.random(5)
    np.testing.assert_allclose(tempered(s / 1e3, 1e3 * tau), tempered(s, tau), rtol=1e-12)
