"""How slowly softmax heads shrink: omega(t) = (8 n+ n- c d^3 t / H)^(-1/6)."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.core.errors import DomainError
from dsf.solvers.icl.flow import flow
from dsf.solvers.icl.heads import gradient, powers, scale, slow_law
from dsf.solvers.icl.prompts import Prompts

statement = (
    "Along gradient flow d/dt (|mu|^2 - |omega|^2)/2 = c sum_k (k-1) d^k/k! (sum_h mu_h "
    "omega_h^k)^2. So, with n+ positive and n- negative heads of one size, omega(t) ~ (8 n+ n- c "
    "d^3 t / H)^(-1/6) as t grows; (4 c d^3 t)^(-1/6) for a pair. There is no limit."
)
reference = "derived, for the reduced model of he2025"
falsified_by = "a ratio to the law that does not tend to 1"

P = Prompts(5, 40, 0.1)
COUNTS = ((1, 1), (1, 2), (1, 3), (2, 2), (3, 2))


def run(positive: int, negative: int, times: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """omega and mu [times H] from one size, with unequal mu of sum zero."""
    sign = np.array([1.0] * positive + [-1.0] * negative)
    share = np.arange(1.0, len(sign) + 1)
    mu = np.where(sign > 0, share / share[sign > 0].sum(), -share / share[sign < 0].sum())
    found = flow(P, 0.25 * sign, 2 * mu, times, rtol=1e-10)
    return found.omega, found.mu


def claim(positive: int = 1, negative: int = 1, t: float = 1e8):
    """Mean |omega| at a late time over the law, against 1."""
    omega, _ = run(positive, negative, [t])
    return np.abs(omega).mean() / float(slow_law(P, t, positive, negative)), 1.0, 2e-3


@pytest.mark.parametrize("counts", COUNTS)
def test_the_law(counts: tuple[int, int]) -> None:
    omega, _ = run(*counts, [1e4, 1e6, 1e8])
    ratio = np.abs(omega).mean(-1) / slow_law(P, np.array([1e4, 1e6, 1e8]), *counts)
    assert abs(ratio[1] - 1) < 0.01 and abs(ratio[2] - 1) < 2e-3
    assert abs(ratio[2] - 1) < abs(ratio[1] - 1) < abs(ratio[0] - 1)
    assert np.ptp(np.abs(omega[2])) < 1e-4 * np.abs(omega[2]).mean()  # one size


def test_numbers_at_a_late_time() -> None:
    known = {(1, 1): 0.02999, (1, 2): 0.02858, (1, 3): 0.02803, (2, 2): 0.02672, (3, 2): 0.02592}
    for counts, value in known.items():
        assert float(slow_law(P, 1e8, *counts)) == pytest.approx(value, abs=6e-6)


def test_a_pair_is_near_its_law_from_a_thousand_on() -> None:
    times = [100.0, 1e3, 1e4, 1e6]
    found = np.abs(flow(P, [0.01, -0.02], [0.02, 0.01], times).omega).mean(-1)
    law = slow_law(P, times)
    np.testing.assert_allclose(law, [0.29988, 0.20431, 0.13919, 0.06461], atol=6e-6)
    assert np.all(np.abs(found / law - 1)[1:] < 0.02)
    np.testing.assert_allclose(law, (4 * scale(P) * 5**3 * np.array(times)) ** (-1 / 6))


def test_differences_of_mu_inside_a_group_stay() -> None:
    """At late times mu of one sign grows by the same amount, so that shares become equal."""
    _, mu = run(2, 2, [1e5, 1e8])
    gaps = mu[:, 1] - mu[:, 0]
    assert gaps[1] == pytest.approx(gaps[0], rel=2e-3)
    assert mu[1, 0] > 2 * mu[0, 0]


def test_the_identity_behind_it() -> None:
    rng = np.random.default_rng(0)
    for H in (1, 2, 5):
        omega, mu = 0.5 * rng.standard_normal((2, H))
        by_omega, by_mu = gradient(P, omega, mu)
        terms = mu @ powers(P, omega)  # sqrt(d^k/k!) sum mu omega^k
        theory = scale(P) * np.sum((np.arange(len(terms)) - 1) * terms**2)
        assert omega @ by_omega - mu @ by_mu == pytest.approx(theory, rel=1e-11)


def test_one_head_has_no_slow_law() -> None:
    with pytest.raises(DomainError, match="One head alone"):
        slow_law(P, 1.0, 1, 0)
