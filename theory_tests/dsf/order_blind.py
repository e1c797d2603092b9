"""Attention without positions does not see the order of earlier tokens; a decay does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import separate

statement = (
    "The last output of softmax, linear and normalised attention without positions does not "
    "change when earlier tokens are permuted. With x = (1, 2, 3) against (2, 1, 3), q = k = v = "
    "x, the outputs of retention with decay gamma differ by 9 gamma (1 - gamma): no gamma in (0, "
    "1) is order-blind, so none equals linear attention. Two tokens cannot separate."
)
reference = "dsf2026"
falsified_by = (
    "A permutation of earlier tokens that changes a last output of attention, or a gamma in (0, "
    "1) with equal outputs."
)

FORWARD, SWAPPED = [1, 2, 3], [2, 1, 3]


def last(family, x, **gates):
    return run(family, q=x, k=x, v=x, **gates)[-1, 0]


def claim(gamma: float = 0.5) -> list:
    """The numbers of the witness, and the certificate."""
    ahead, behind = 27 + 12 * gamma + 3 * gamma**2, 27 + 3 * gamma + 12 * gamma**2
    pairs: list[tuple[Any, dict[str, list[float]], float, float]] = [
        (dsf.linear_attn, {}, 42.0, 42.0),
        (dsf.softmax, {}, 2.947974578616583, 2.947974578616583),
        (dsf.normalised_attn, {"eta": [1, 1, 1]}, 42.0, 42.0),
        (dsf.retnet, {"gamma": [gamma]}, ahead, behind),
    ]
    outcomes: list = []
    for family, gates, forward, swapped in pairs:
        found = (last(family, FORWARD, **gates), last(family, SWAPPED, **gates))
        outcomes.append((found, (forward, swapped), 1e-13))
    k, beta = [1, 1, 1], [0.5, 0.5, 0.5]  # sign x, and half a delta step
    delta = [run(dsf.deltanet, q=x, k=k, v=x, beta=beta)[-1, 0] for x in (FORWARD, SWAPPED)]
    outcomes.append((delta, (6.375, 6.0), 1e-13))
    gap = last(dsf.retnet, FORWARD, gamma=[gamma]) - last(dsf.retnet, SWAPPED, gamma=[gamma])
    outcomes.append((gap, 9 * gamma * (1 - gamma), 1e-13))
    return [*outcomes, separate(dsf.linear_attn, dsf.retnet)[0]]


@pytest.mark.parametrize("gamma", [0.5, 1e-3, 0.9, 1 - 2**-5])
def test_the_numbers_hold(gamma):
    assert judge(claim(gamma)).holds


def test_the_gap_is_a_polynomial_without_zeros_inside():
    import sympy

    gamma = sympy.Symbol("gamma")
    words = [np.array([[sympy.Integer(i)] for i in x], dtype=object) for x in (FORWARD, SWAPPED)]
    decay = np.array([[gamma]], dtype=object)
    gap = [run(dsf.retnet, q=x, k=x, v=x, gamma=decay)[-1, 0] for x in words]
    assert sympy.factor(gap[0] - gap[1]) == -9 * gamma * (gamma - 1)


BLIND = [
    dsf.softmax,
    dsf.linear_attn,
    dsf.linear_attn(phi="exp"),
    dsf.normalised_linear_attn,
    dsf.normalised_attn,
    dsf.normalised_attn(eta="sigmoid"),
]


@given(st.sampled_from(BLIND), st.permutations(range(6)), st.integers(0, 2**31))
def test_any_permutation_of_earlier_tokens(family, order, seed):
    mech = family.without_parameters()
    tok = family.draw_tokens(np.random.default_rng(seed), 7, n=3, p=2)
    moved = tok.map(lambda x: x[..., [*order, 6], :])
    y, z = (mech.advance(t, dsf.State())[0][-1] for t in (tok, moved))
    assert np.allclose(y, z, rtol=1e-11, atol=1e-13)


def test_sigmoid_attention_is_order_blind_too():
    x = np.array([1.0, 2.0, 3.0])

    def sigmoid_attention(x):
        return (1 / (1 + np.exp(-(x[-1] * x))) * x).sum()

    assert sigmoid_attention(x) == pytest.approx(sigmoid_attention(x[[1, 0, 2]]), rel=1e-15)


@given(st.sampled_from([dsf.retnet, dsf.gla, dsf.mamba2, dsf.deltanet]), st.integers(0, 2**31))
def test_random_gates_see_the_order(family, seed):
    mech = family.without_parameters()
    tok = family.draw_tokens(np.random.default_rng(seed), 3, n=2, p=1)
    moved = tok.map(lambda x: x[..., [1, 0, 2], :] if x.shape[-2] == 3 else x)
    y, z = (mech.advance(t, dsf.State())[0][-1] for t in (tok, moved))
    assert abs(y - z).max() > 1e-9
