"""Time-invariant linear systems add up their tokens; products of gates, keys and values do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.catalogue import family
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import ADDITIVE, SUPERPOSITION

statement = (
    "S4D and LRU obey superposition in u. Linear attention has degree 3 in u: y(2u) = 8 y(u) with "
    "one token; S6 has degree above 1, and no degree at all because of its softplus. Whatever map "
    "is applied to each input token first, the output of a time-invariant system is a sum over "
    "tokens, so its mixed difference in two tokens vanishes; two tokens separate them."
)
reference = "dsf2026"
falsified_by = "Inputs u and w with y(u + w) different from y(u) + y(w) for S4D or LRU."

LTI = [dsf.s4d, dsf.s4d(discretisation="bilinear"), dsf.lru]


def claim(seed: int = 0) -> list:
    """The degree of linear attention, superposition of LRU, and both certificates."""
    u = np.random.default_rng(seed).standard_normal((1, 2))
    attention, lti = dsf.linear_attn.init(2, n=2, p=2), dsf.lru.init(2, n=2)
    return [
        (attention(2 * u), 8 * attention(u), 1e-12),
        (lti(2 * u), 2 * lti(u), 1e-13),
        SUPERPOSITION.certificate(dsf.lru, dsf.mamba),
        ADDITIVE.certificate(dsf.lru, dsf.mamba),
    ]


def test_the_claim_holds():
    assert judge(claim()).holds


@given(st.sampled_from(LTI), st.integers(1, 6), st.integers(0, 2**31))
def test_superposition(family, L, seed):
    rng = np.random.default_rng(seed)
    mech = family.init(2, n=2, seed=seed % 1000)
    u, w = rng.standard_normal((2, L, 2))
    assert np.allclose(mech(u + 3 * w), mech(u) + 3 * mech(w), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["linear_attn", "mamba", "gla", "deltanet", "rglru", "gru"])
def test_one_token_shows_the_degree(name):
    mech = family(name).init(2, n=2, p=2)
    u = np.array([[1.0, -0.5]])
    assert np.abs(mech(2 * u) - 2 * mech(u)).max() > 1e-3 * np.abs(mech(u)).max()


def test_linear_attention_has_a_mixed_difference():
    """q k v with x and y first, z and w last: (q_z - q_w)(k_x v_x - k_y v_y)."""

    def last(first: float, second: float) -> float:
        x = [first, second]
        return float(run(dsf.linear_attn, q=x, k=x, v=x)[-1, 0])

    assert last(1, 3) - last(2, 3) - last(1, 4) + last(2, 4) == (3 - 4) * (1 - 4)
