"""The approximate loss of softmax heads: its expansion, its optima, and the gap of one head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers import icl_optimal, icl_risk
from dsf.solvers.icl.heads import (
    best_values,
    expanded,
    gradient,
    infimum,
    loss,
    overlap,
    scale,
)
from dsf.solvers.icl.prompts import Array, Prompts

statement = (
    "L~(omega, mu) = 1 + s2 - 2 mu'omega + mu'(omega omega' + c E) mu, E = exp(d omega omega'), "
    "c = (1+s2)/L, is s2 + (1 - mu'omega)^2 + c sum_k d^k/k! (sum_h mu_h omega_h^k)^2. One head: "
    "least s2 + 1 - 1/(1 + e c d) at omega = 1/sqrt(d), mu = sqrt(d)/(1 + e c d). Any number H "
    "above one: infimum s2 + c d/(1 + c d), the same for all H and attained by none."
)
reference = "he2025, the loss and its constants (published code); derived: expansion and infimum"
falsified_by = "heads with a loss at or below the infimum, or a part of the expansion missing"

P = Prompts(5, 40, 0.1)
LEVELS = {  # max |omega| = 0.3: the loss at the best mu
    (0.3, -0.3): 0.2244873,
    (0.3, -0.3, 0.15, -0.15): 0.2208814,
    (0.3, -0.3, 0.2, -0.2, 0.1, -0.1): 0.22087912,
}


def claim(heads: int = 2, omega: float = 1e-3):
    """The loss of heads at +-omega and its infimum: apart by O(omega^4)."""
    found = icl_optimal("multi_head", 5, 40, 0.1, heads=heads, max_omega=omega)
    return found.value, infimum(P, heads), omega**4


numbers = st.floats(-0.8, 0.8, allow_subnormal=False)
values = st.floats(-5, 5, allow_subnormal=False)
head_lists = st.lists(st.tuples(numbers, values), min_size=1, max_size=6)
settings = st.tuples(st.integers(1, 8), st.integers(1, 60), st.just(0.0) | st.floats(1e-9, 3))


@given(head_lists, settings)
def test_expansion(heads: list, setting: tuple) -> None:
    prompts = Prompts(*setting)
    omega, mu = np.array(heads).T
    size = 1 + prompts.noise_var + np.abs(mu) @ (1 + overlap(prompts, omega)) @ np.abs(mu)
    assert abs(loss(prompts, omega, mu) - expanded(prompts, omega, mu)) <= 1e-13 * size


@given(head_lists, settings)
def test_the_best_mu(heads: list, setting: tuple) -> None:
    prompts = Prompts(*setting)
    omega, mu = np.array(heads).T
    best = expanded(prompts, omega, best_values(prompts, omega))
    assert best <= expanded(prompts, omega, mu) + 1e-12 * (1 + prompts.noise_var)
    E, c = overlap(prompts, omega), scale(prompts)
    A = np.outer(omega, omega) + c * E
    if np.linalg.cond(A) < 1e6:  # the formula as it stands
        value = 1 + prompts.noise_var - omega @ np.linalg.solve(A, omega)
        assert best == pytest.approx(value, rel=1e-9)


@given(head_lists, settings)
def test_no_heads_reach_the_infimum(heads: list, setting: tuple) -> None:
    prompts = Prompts(*setting)
    omega, _ = np.array(heads).T
    best = expanded(prompts, omega, best_values(prompts, omega))
    assert best >= infimum(prompts, len(omega)) * (1 - 1e-12)


@given(head_lists)
def test_gradient_is_that_of_half_the_loss(heads: list) -> None:
    omega, mu = np.array(heads).T
    h = 1e-6
    for i in range(len(omega)):
        for part, found in enumerate(gradient(P, omega, mu)):
            step = h * np.eye(len(omega))[i]
            moves = (step, 0 * step) if part == 0 else (0 * step, step)
            up = expanded(P, omega + moves[0], mu + moves[1])
            down = expanded(P, omega - moves[0], mu - moves[1])
            assert found[i] == pytest.approx((up - down) / (4 * h), rel=1e-5, abs=1e-5)


def test_gradient_against_automatic_differentiation() -> None:
    import torch

    omega, mu = (torch.tensor(x, dtype=torch.float64, requires_grad=True)
                 for x in ([0.3, -0.2, 0.1], [1.0, -2.0, 0.5]))  # fmt: skip
    c = scale(P)
    Q = torch.outer(omega, omega) + c * torch.exp(5 * torch.outer(omega, omega))
    (1.1 - 2 * mu @ omega + mu @ Q @ mu).backward()
    found = gradient(P, omega.detach().numpy(), mu.detach().numpy())
    for mine, theirs in zip(found, (omega.grad, mu.grad), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy() / 2, rtol=1e-12)


def test_reference_numbers() -> None:
    one, two = (icl_optimal("multi_head", 5, 40, 0.1, heads=h) for h in (1, 2))
    assert one.omega is not None and one.mu is not None and one.attained
    assert one.omega[0] == pytest.approx(0.4472136, abs=6e-8)
    assert one.mu[0] == pytest.approx(1.6276947, abs=6e-8)
    assert one.value == pytest.approx(0.3720728, abs=6e-8)
    assert two.step == pytest.approx(0.8791209, abs=6e-8) and not two.attained
    assert two.value == pytest.approx(0.2208791, abs=6e-8) and two.omega is None
    for omega, mu, value in (
        (0.13, 3.3807477, 0.2210056), (0.25, 1.7547724, 0.2226138), (0.5, 0.8501875, 0.2498125),
    ):  # fmt: skip
        found = icl_optimal("multi_head", 5, 40, 0.1, max_omega=omega)
        assert found.mu is not None
        np.testing.assert_allclose(found.mu, [mu, -mu], atol=6e-8)
        assert found.value == pytest.approx(value, abs=6e-8)
    trained = icl_risk("multi_head", 5, 40, 0.1, omega=[0.13, -0.13], mu=[3.45, -3.45])
    assert trained.value == pytest.approx(0.2213744, abs=6e-8)


@pytest.mark.parametrize("omega", LEVELS)
def test_more_levels_come_closer_at_the_same_largest_omega(omega: tuple) -> None:
    found = icl_risk("multi_head", 5, 40, 0.1, omega=list(omega)).value
    assert found == pytest.approx(LEVELS[omega], abs=6e-8 if len(omega) < 6 else 6e-9)
    assert found > infimum(P, len(omega))


def pair(omega: Array, d: int = 5, c: float = 0.0275) -> Array:
    """1 + s2 - 1/(1 + c sinh(d omega^2)/omega^2)."""
    return 1.1 - 1 / (1 + c * np.sinh(d * omega**2) / omega**2)


def test_a_pair_by_itself() -> None:
    omegas = np.linspace(0.05, 0.9, 30)
    found = [icl_optimal("multi_head", 5, 40, 0.1, max_omega=w).value for w in omegas]
    np.testing.assert_allclose(found, pair(omegas), rtol=1e-12)
    assert np.all(np.diff(found) > 0)  # least as omega -> 0


def test_one_head_is_best_at_one_over_the_root_of_d() -> None:
    best = icl_optimal("multi_head", 5, 40, 0.1, heads=1)
    for omega in (0.2, 0.44, 0.46, 0.8):
        assert icl_optimal("multi_head", 5, 40, 0.1, heads=1, max_omega=omega).value > best.value


@pytest.mark.parametrize("heads", [2, 3, 4, 5])
def test_the_infimum_is_approached(heads: int) -> None:
    gaps = [claim(heads, w)[0] - infimum(P, heads) for w in (0.1, 0.05, 0.025)]
    assert min(gaps) > 0
    np.testing.assert_allclose(np.log2(np.array(gaps[:-1]) / gaps[1:]), 4.0, atol=0.02)
    computed, theory, tolerance = claim(heads)
    assert abs(computed - theory) <= tolerance


def test_the_sign_of_one_head_is_free() -> None:
    assert loss(P, [0.4], [1.5]) == loss(P, [-0.4], [-1.5])
