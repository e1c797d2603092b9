"""A constant added to all logits changes nothing if the ridge is multiplied by the weights."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.solvers import local_linear_attention
from dsf.theory_tests import judge

statement = (
    "Local linear attention with the penalty ridge sum_j w_ij |W|^2 does not change when all "
    "logits are shifted by one number; with the penalty ridge |W|^2 it does: a shift by s acts as "
    "the ridge e^{-s} ridge."
)
reference = "zuo2026: the text has the second penalty, the code the first"
falsified_by = "a shift that changes the first output by more than rounding, or not the second"


def outputs(ridge_times: str, shift: float, n: int, d: int, seed: int, ridge: float = 1.0):
    """Causal output with the logits q'k + shift: from one more coordinate, the same everywhere.

    That coordinate is shift^(1/2) for queries and keys, so that k - q does not change in it.
    """
    q, k, v = np.random.default_rng(seed).standard_normal((3, n, d))
    more = np.full((n, 1), np.sqrt(shift))
    return local_linear_attention(
        np.hstack([q, more]), np.hstack([k, more]), v, ridge=ridge, scale=1.0,
        ridge_times=ridge_times,
    )  # fmt: skip


def claim(shift: float = 5.0, n: int = 12, d: int = 4, seed: int = 0):
    """With the ridge times the weights: no change.  Plain: the change of ridge to e^-s ridge."""
    plain = outputs("one", shift, n, d, seed)
    return [
        (outputs("weights", shift, n, d, seed), outputs("weights", 0.0, n, d, seed), 1e-9),
        (plain, outputs("one", 0.0, n, d, seed, np.exp(-shift)), 1e-9),
    ]


@settings(max_examples=40)
@given(st.floats(0, 6), st.integers(1, 12), st.integers(1, 4), st.integers(0, 10**6))
def test_shifts(shift, n, d, seed):
    judgement = judge(claim(shift, n, d, seed))
    assert judgement.holds, "\n".join(judgement.lines)


def test_the_plain_ridge_sees_the_shift():
    moved, still = (outputs("one", s, 12, 4, 0) for s in (5.0, 0.0))
    assert np.abs(moved - still).max() > 0.1
