"""Local linear attention between softmax attention, least squares and linear attention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.solvers import local_linear_attention
from dsf.theory_tests import judge

statement = (
    "Over all keys, with kb, vb the means: ridge -> infinity gives softmax attention. Scale 0 and "
    "ridge 0: least squares with intercept. Scale 0 and ridge -> infinity: ridge (o - vb) -> "
    "C_kv'(q - kb), linear attention on centred keys and values over their number. "
    "All three gaps are of order ridge or 1/ridge."
)
reference = "zuo2026, section 2; the limits with constants: derived"
falsified_by = "a gap that does not fall tenfold with ten times the ridge, or its inverse"

LIMITS = ("softmax", "least_squares", "centred_linear")


def draw(n: int, d: int, seed: int):
    """q, k, v [n d] of standard normals."""
    return np.random.default_rng(seed).standard_normal((3, n, d))


def both(limit: str, strength: float, q, k, v):
    """Local linear attention near a limit, and the limit itself, each by its own formula."""
    if limit == "softmax":
        o = local_linear_attention(q, k, v, ridge=strength, causal=False)
        return o, softmax(q @ k.T / np.sqrt(q.shape[1])) @ v
    if limit == "least_squares":
        o = local_linear_attention(q, k, v, ridge=1 / strength, scale=0.0, causal=False)
        one = np.ones((len(k), 1))
        return o, np.hstack([one, q]) @ np.linalg.lstsq(np.hstack([one, k]), v, rcond=None)[0]
    o = local_linear_attention(q, k, v, ridge=strength, scale=0.0, causal=False)
    kb, vb = k.mean(0), v.mean(0)
    return strength * (o - vb), (q - kb) @ (k - kb).T @ (v - vb) / len(k)


def claim(limit: str = "softmax", strength: float = 1e7, n: int = 24, d: int = 3, seed: int = 0):
    """The output at a large (or small) ridge, against its limit."""
    computed, theory = both(limit, strength, *draw(n, d, seed))
    return computed, theory, 1e3 / strength


@pytest.mark.parametrize("limit", LIMITS)
@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_the_limits(limit, d, seed):
    judgement = judge(claim(limit, 1e7, 10 * d, d, seed))
    assert judgement.holds, "\n".join(judgement.lines)


@pytest.mark.parametrize("limit", LIMITS)
def test_the_gap_falls_tenfold(limit):
    tokens = draw(24, 3, 0)
    gaps = [np.abs(np.subtract(*both(limit, s, *tokens))).max() for s in (1e3, 1e4)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)


def test_linear_attention_on_uncentred_keys_is_another_map():
    q, k, v = draw(24, 3, 0)
    computed, _ = both("centred_linear", 1e7, q, k + 1, v + 1)
    assert np.abs(computed - q @ (k + 1).T @ (v + 1) / len(k)).max() > 1


def test_with_least_squares_of_the_same_scale_but_no_intercept_it_disagrees():
    q, k, v = draw(24, 3, 0)
    computed, _ = both("least_squares", 1e9, q, k, v)
    assert np.abs(computed - q @ np.linalg.lstsq(k, v, rcond=None)[0]).max() > 0.1
