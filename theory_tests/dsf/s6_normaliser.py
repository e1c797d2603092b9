"""S6 equals normalised attention for one kind of normaliser only, which grows linearly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.lattice.equal_when import equal_when

statement = (
    "S6 with one step size and one rate a = -alpha equals normalised attention with the same q, k, "
    "v, whatever they are, exactly when dt_i = 1/eta_i and eta_i = eta_{i-1} e^{alpha/eta_i} for "
    "i >= 1. This fixes all eta_i by eta_0; they grow, and eta_i / i -> alpha."
)
reference = "sieber2024, S6 against attention; dsf2026, the exact condition"
falsified_by = "A normaliser off this recursion for which the kernels agree for all q and k."


def normaliser(alpha: float, eta: float, steps: int) -> np.ndarray:
    """eta_0 .. eta_steps: alpha/eta_i = W(alpha/eta_{i-1}) with the Lambert function W."""
    found = [eta]
    for _ in range(steps):
        found.append(alpha / float(lambertw(alpha / found[-1]).real))
    return np.array(found)


def claim(alpha: float = 0.7, eta: float = 1.0, L: int = 100_000, seed: int = 0) -> list:
    """eta_L / L against alpha, both outputs on 200 tokens, and the certificates of both families.

    The increment eta_i - eta_{i-1} = eta_i (1 - e^{-alpha/eta_i}) lies between alpha -
    alpha^2/(2 eta_i) and alpha, which gives the tolerance.
    """
    etas = normaliser(alpha, eta, L)
    lag = (eta + float(np.sum(alpha**2 / (2 * etas[1:])))) / L
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((200, size)) for size in (3, 3, 2))
    head = normaliser(alpha, eta, 199)
    attention = run(dsf.normalised_attn, q=q, k=k, v=v, eta=head)
    ssd = run(dsf.mamba2, q=q, k=k, v=v, dt=1 / head, a=[-alpha])
    scale = float(np.abs(attention).max())
    both = [equal_when(s6, dsf.normalised_attn) for s6 in (dsf.mamba2, dsf.mamba)]
    return [
        (etas[-1] / L, alpha, lag),
        (ssd, attention, 1e-11 * scale),
        *[c.certificate for c in both if c is not None],
    ]


def test_the_claim_holds():
    outcomes = claim()
    assert len(outcomes) == 4
    judgement = judge(outcomes)
    assert judgement.holds, "\n".join(judgement.lines)
    assert outcomes[0][0] == pytest.approx(0.69997, abs=2e-5)


@given(st.floats(0.05, 3), st.floats(0.3, 5), st.integers(0, 2**31))
def test_any_rate_and_start(alpha, eta, seed):
    judgement = judge(claim(alpha, eta, 400, seed)[:2])
    assert judgement.holds, "\n".join(judgement.lines)


def test_a_constant_normaliser_is_not_reached():
    x = np.ones(5)
    attention = run(dsf.normalised_attn, q=x, k=x, v=x, eta=2 * x)
    ssd = run(dsf.mamba2, q=x, k=x, v=x, dt=x / 2, a=[-0.7])
    assert np.abs(attention - ssd)[1:].min() > 0.1


def test_a_bounded_normaliser_is_left():
    """eta = sigmoid stays below 1, but the recursion passes 1 after finitely many tokens."""
    assert normaliser(0.01, 0.01, 1000)[-1] > 1
    assert equal_when(dsf.mamba2, dsf.normalised_attn(eta="sigmoid")) is None
