"""Redistribution of attention from sinks to image tokens: what a row keeps, and what it moves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import redistribute

statement = (
    "Moving Omega = (1-p) sum_sinks a from the sinks to the other image tokens keeps row sums, is "
    "at total variation Omega, and moves the output by Omega (mean of image values - mean of sink "
    "values), with the attention as weights of both means; k applications leave p^k of a sink."
)
reference = "kang2025 (arXiv 2503.03321) for the rule; the identities are derived here"
falsified_by = "a row sum off one, another distance, or another shift of the output"


def masks(rng: np.random.Generator, T: int) -> tuple[np.ndarray, np.ndarray]:
    """(image, sinks): an image in the middle; token 0 and two image tokens are sinks."""
    image = np.zeros(T, dtype=bool)
    image[2 : T - 3] = True
    sinks = np.zeros(T, dtype=bool)
    sinks[0] = True
    sinks[2 + rng.choice(T - 5, 2, replace=False)] = True
    return image, sinks


def claim(T: int = 16, p: float = 0.6, seed: int = 0) -> list:
    """Row sum, total variation, and shift of the output of one random row."""
    rng = np.random.default_rng(seed)
    image, sinks = masks(rng, T)
    a, v = rng.dirichlet(np.full(T, 0.7)), rng.standard_normal((T, 3))
    new = redistribute(a, image, sinks, p)
    others = image & ~sinks
    omega = (1 - p) * a[sinks].sum()
    means = [a[group] @ v[group] / a[group].sum() for group in (others, sinks)]
    return [
        (new.sum(), 1.0, 1e-14),
        (np.abs(new - a).sum() / 2, omega, 1e-14),
        (new @ v - a @ v, omega * (means[0] - means[1]), 1e-13),
    ]


@given(st.integers(0, 200), st.integers(10, 40), st.floats(0, 1))
def test_identities_of_one_row(seed: int, T: int, p: float) -> None:
    for computed, theory, tolerance in claim(T, p, seed):
        np.testing.assert_allclose(computed, theory, atol=tolerance)


@given(st.integers(0, 200), st.floats(0, 1))
def test_what_stays(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    image, sinks = masks(rng, 16)
    a = rng.dirichlet(np.full(16, 0.7))
    new = redistribute(a, image, sinks, p)
    others = image & ~sinks
    assert np.all(new >= 0)
    np.testing.assert_array_equal(new[~image & ~sinks], a[~image & ~sinks])
    np.testing.assert_allclose(new[others] * a[others].sum(), a[others] * new[others].sum())
    assert np.all(new[others] >= a[others])


def test_repeated_application_and_the_identity() -> None:
    rng = np.random.default_rng(3)
    image, sinks = masks(rng, 16)
    a = new = rng.dirichlet(np.ones(16))
    for _ in range(3):
        new = redistribute(new, image, sinks, 0.6)
    np.testing.assert_allclose(new[sinks], 0.6**3 * a[sinks])
    np.testing.assert_array_equal(redistribute(a, image, sinks, 1.0), a)
    np.testing.assert_array_equal(redistribute(a, sinks, sinks, 0.6), a)  # nowhere to put it


def test_rows_that_stay_as_they_are() -> None:
    rng = np.random.default_rng(4)
    image, sinks = masks(rng, 16)
    others = image & ~sinks
    a = rng.dirichlet(np.ones(16))
    empty = np.where(others, 0.0, a) / (1 - a[others].sum())
    rows = redistribute(np.stack([empty, a]), image, sinks, 0.6)
    np.testing.assert_array_equal(rows[0], empty)  # no weight on image tokens that are no sinks
    assert np.abs(rows[1] - a).max() > 1e-3
    np.testing.assert_array_equal(redistribute(a, image, np.zeros(16, bool), 0.6), a)  # no sinks
    once = redistribute(a, image, sinks, 0.0)
    np.testing.assert_array_equal(redistribute(once, image, sinks, 0.0), once)  # p = 0: idempotent
