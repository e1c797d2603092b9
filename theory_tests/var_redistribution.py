"""Redistribution of attention from sinks to image tokens: identities, entropy, states."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.attention_metrics import entropy
from dsf.solvers.interventions import redistribute
from dsf.system import LTV
from dsf.transition import Diag

statement = (
    "Moving Omega = (1-p) sum_sinks a from the sinks to the other image tokens keeps row sums, is "
    "at total variation Omega, moves the output by Omega (mean of image values - mean of sink "
    "values), and doubles the states of a recurrent mixer: M' = M diag(w) + diag(c) M diag(1)."
)
reference = "kang2025 (arXiv 2503.03321) for the rule; the identities are derived here"
falsified_by = "a row sum off one, another distance, or a Hankel rank above twice the first one"


def masks(rng: np.random.Generator, T: int) -> tuple[np.ndarray, np.ndarray]:
    """(image, sinks): an image in the middle; token 0 and two image tokens are sinks."""
    image = np.zeros(T, dtype=bool)
    image[2 : T - 3] = True
    sinks = np.zeros(T, dtype=bool)
    sinks[0] = True
    sinks[2 + rng.choice(T - 5, 2, replace=False)] = True
    return image, sinks


def recurrent(rng: np.random.Generator, T: int, n: int) -> tuple[np.ndarray, ...]:
    """Normalised linear attention with n positive features: (q / normaliser, k, M)."""
    q, k = rng.random((2, T, n)) + 0.1
    q = q / np.sum(q * np.cumsum(k, axis=0), axis=1, keepdims=True)
    return q, k, np.tril(q @ k.T)


def doubled(q: np.ndarray, k: np.ndarray, M: np.ndarray, image, sinks, p: float) -> LTV:
    """The system with 2n states: one half holds all tokens, the other the image without sinks."""
    others = image & ~sinks
    weight = M[:, others].sum(1)
    c = (1 - p) * M[:, sinks].sum(1) / np.where(weight > 0, weight, np.inf)
    w = np.where(sinks, p, 1.0)
    B = np.concatenate([w[:, None] * k, others[:, None] * k], axis=1)[:, :, None]
    C = np.concatenate([q, c[:, None] * q], axis=1)[:, None, :]
    return LTV(Diag(log_a=np.zeros((1, 2 * k.shape[1]))), B, C)


def claim(T: int = 24, n: int = 3, p: float = 0.6, seed: int = 0):
    """The kernel of the 2n recursion against the redistributed rows (rows after the image)."""
    rng = np.random.default_rng(seed)
    q, k, M = recurrent(rng, T, n)
    image, sinks = masks(rng, T)
    first = int(np.flatnonzero(image & ~sinks)[0])  # rows before it have nowhere to put weight
    kernel = doubled(q, k, M, image, sinks, p).kernel()
    return kernel[first:], redistribute(M, image, sinks, p)[first:], 1e-13


@given(st.integers(0, 50), st.integers(10, 30), st.integers(1, 4), st.floats(0, 1))
def test_the_recursion_with_twice_the_states(seed: int, T: int, n: int, p: float) -> None:
    computed, theory, tolerance = claim(T, n, p, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


def test_the_states_double_and_not_more() -> None:
    computed, _, _ = claim(24, 3)
    ranks = [np.linalg.matrix_rank(computed[i:, : i + 3], tol=1e-10) for i in range(1, 18)]
    assert max(ranks) == 6


@given(st.integers(0, 200), st.floats(0, 1))
def test_identities_of_one_row(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    T = 16
    image, sinks = masks(rng, T)
    a = rng.dirichlet(np.full(T, 0.7))
    new = redistribute(a, image, sinks, p)
    others = image & ~sinks
    omega = (1 - p) * a[sinks].sum()
    assert abs(new.sum() - 1) < 1e-14 and np.all(new >= 0)
    assert abs(np.abs(new - a).sum() / 2 - omega) < 1e-14
    np.testing.assert_array_equal(new[~image & ~sinks], a[~image & ~sinks])
    np.testing.assert_allclose(new[others] * a[others].sum(), a[others] * new[others].sum())
    v = rng.standard_normal((T, 3))
    shift = omega * (a[others] @ v[others] / a[others].sum() - a[sinks] @ v[sinks] / a[sinks].sum())
    np.testing.assert_allclose(new @ v - a @ v, shift, atol=1e-13)
    if p < 1 and new[sinks].min() >= new[others].max():
        assert entropy(new) >= entropy(a)  # the new row is majorised by the old one


def test_majorised_rows_occur() -> None:
    count = rose = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        image, sinks = masks(rng, 16)
        a = rng.dirichlet(np.where(sinks, 20.0, 2.0))
        new = redistribute(a, image, sinks)
        if new[sinks].min() >= new[image & ~sinks].max():
            count += 1
            rose += int(entropy(new) > entropy(a))
    assert count > 50 and rose == count


def test_repeated_application_and_the_identity() -> None:
    rng = np.random.default_rng(3)
    image, sinks = masks(rng, 16)
    a = new = rng.dirichlet(np.ones(16))
    for _ in range(3):
        new = redistribute(new, image, sinks, 0.6)
    np.testing.assert_allclose(new[sinks], 0.6**3 * a[sinks])
    np.testing.assert_array_equal(redistribute(a, image, sinks, 1.0), a)
    np.testing.assert_array_equal(redistribute(a, sinks, sinks, 0.6), a)  # nowhere to put it
