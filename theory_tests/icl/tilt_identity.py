"""Softmax attention over many Gaussian tokens is affine: the tilt identity, and its rates."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.core.tokens import Tokens
from dsf.mechanisms.attention.softmax import Softmax

statement = (
    "For tokens x ~ N(m, Gam) and logits a'x, E[x e^(a'x)] / E[e^(a'x)] = m + Gam a: softmax "
    "attention over infinitely many Gaussian tokens is affine in its query. For Rademacher tokens "
    "it is tanh(a). At L tokens, with s = a'Gam a, to first order in 1/L: E|err|^2 = (e^s/L)(tr "
    "Gam + |Gam a|^2), mean of err -(e^s/L) Gam a."
)
reference = "boursier2025, lemma 2.1; derived: the rates"
falsified_by = "a quadrature off m + Gam a, or errors that do not approach the rates as L grows"

SAMPLES = 4000
# L: measured E|err|^2 (generator 1, 4000 draws), and the rate
REFERENCE = {
    64: (0.16617, 0.18334), 256: (0.044447, 0.045835), 1024: (0.011196, 0.011459),
    4096: (0.0028096, 0.0028647),
}  # fmt: skip


def setting() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """m [4], Gam [4 4] and a [4] of the reference run."""
    rng = np.random.default_rng(0)
    G, m = rng.standard_normal((4, 4)) * 0.5, rng.standard_normal(4) * 0.3
    U, z = rng.standard_normal((4, 4)) * 0.3, rng.standard_normal(4)
    return m, G @ G.T + 0.3 * np.eye(4), U @ z


def tilted(a: np.ndarray, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """E[x e^(a'x)] / E[e^(a'x)] of a discrete law."""
    w = weights * np.exp(points @ a)
    return w @ points / w.sum()


def gaussian(m: np.ndarray, Gam: np.ndarray, order: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite points [N d] and weights of N(m, Gam)."""
    x, w = np.polynomial.hermite_e.hermegauss(order)
    d = len(m)
    grid = np.stack(np.meshgrid(*[x] * d, indexing="ij"), -1).reshape(-1, d)
    weights = np.prod(np.stack(np.meshgrid(*[w] * d, indexing="ij"), -1), -1).ravel()
    return m + grid @ np.linalg.cholesky(Gam).T, weights


def errors(L: int, rng: np.random.Generator, count: int = SAMPLES) -> np.ndarray:
    """Outputs of the catalogue's softmax at one query over L Gaussian tokens, less m + Gam a."""
    m, Gam, a = setting()
    found = []
    for begin in range(0, count, 500):
        size = min(500, count - begin)
        x = m + rng.standard_normal((size, L, 4)) @ np.linalg.cholesky(Gam).T
        tok = Tokens(q=np.broadcast_to(2.0 * a, (size, 1, 4)), k=x, v=x)  # 2 = sqrt(n)
        rows, v = Softmax().weights(tok, 1)
        found.append((rows @ v)[:, 0] - m - Gam @ a)
    return np.concatenate(found)


def rates(L: int) -> tuple[float, np.ndarray]:
    """(e^s/L)(tr Gam + |Gam a|^2), and -(e^s/L) Gam a."""
    _, Gam, a = setting()
    e = np.exp(a @ Gam @ a) / L
    return float(e * (np.trace(Gam) + np.sum((Gam @ a) ** 2))), -e * (Gam @ a)


def claim(L: int = 1024, count: int = 1000):
    """The quadrature against m + Gam a; the mean squared error at L tokens against its rate."""
    m, Gam, a = setting()
    square = np.sum(errors(L, np.random.default_rng(1), count) ** 2, -1)
    rate = rates(L)[0]
    close = 4 * square.std() / count**0.5 + 4 * rate * np.exp(a @ Gam @ a) / L * 4
    return [(tilted(a, *gaussian(m, Gam)), m + Gam @ a, 1e-12), (square.mean(), rate, close)]


def test_gaussian_tokens() -> None:
    rng = np.random.default_rng(3)
    for d in (1, 2, 3):
        A, m, a = rng.standard_normal((d, d)), rng.standard_normal(d), rng.standard_normal(d)
        Gam = A @ A.T / d + 0.1 * np.eye(d)
        a = a / np.sqrt(a @ Gam @ a)
        np.testing.assert_allclose(tilted(a, *gaussian(m, Gam)), m + Gam @ a, atol=1e-11)


def test_rademacher_tokens_are_another_map() -> None:
    for a in (0.3, 1.0, 2.0):
        found = tilted(np.array([a]), np.array([[1.0], [-1.0]]), np.array([0.5, 0.5]))[0]
        assert found == pytest.approx(np.tanh(a), rel=1e-14)
    assert abs(np.tanh(2.0) - 2.0) > 1  # what m + Gam a would be


def test_claim_holds() -> None:
    for computed, theory, tolerance in claim():
        assert np.max(np.abs(np.asarray(computed) - theory)) <= tolerance


def test_the_setting_and_its_rates() -> None:
    _, Gam, a = setting()
    assert a @ Gam @ a == pytest.approx(0.739208, abs=6e-7)
    for L, (_, rate) in REFERENCE.items():
        assert rates(L)[0] == pytest.approx(rate, rel=1e-4)


def test_the_error_approaches_its_rate() -> None:
    ratios = []
    for L in (64, 256, 1024):
        err = errors(L, np.random.default_rng(1))
        found = np.sum(err**2, -1).mean()
        assert found == pytest.approx(REFERENCE[L][0], rel=6e-5)  # the same draws
        ratios.append(found / rates(L)[0])
        bias, spread = rates(L)[1], err.std(0) / SAMPLES**0.5
        assert np.all(np.abs(err.mean(0) - bias) < 4 * spread + 0.25 * np.abs(bias))
    assert ratios[0] < 0.95 < ratios[2]


@pytest.mark.slow
def test_the_longest_prompt_of_the_reference() -> None:
    found = np.sum(errors(4096, np.random.default_rng(1)) ** 2, -1).mean()
    assert found == pytest.approx(REFERENCE[4096][0], rel=6e-5)


def test_one_token_gives_itself() -> None:
    """A bound with the factor log L, as published for L tokens, cannot hold at L = 1."""
    err = errors(1, np.random.default_rng(1), 500)
    assert np.sum(err**2, -1).min() > 0 == np.log(1)
