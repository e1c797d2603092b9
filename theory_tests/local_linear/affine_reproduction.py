"""Without a ridge, local linear attention is exact on affine maps, at any scale of the logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.solvers import local_linear_attention
from dsf.solvers.local_linear.forms import smoother_weights
from dsf.theory_tests import judge

statement = (
    "The weights s_ij of local linear attention sum to 1, and at ridge 0 sum_j s_ij (k_j - q_i) = "
    "0, where the keys of query i span all dimensions; so values M'k_j + c give the output "
    "M'q_i + c at every scale. With a ridge, and for softmax attention, the second sum is not 0."
)
reference = "classical for local polynomials (fan1996); zuo2026"
falsified_by = "an affine map and keys in general position with another output"


def draw(n: int, d: int, seed: int):
    """q, k [n d], a map M [d 2], an offset c [2]."""
    rng = np.random.default_rng(seed)
    return *rng.standard_normal((2, n, d)), rng.standard_normal((d, 2)), rng.standard_normal(2)


def claim(scale: float = 1.0, n: int = 40, d: int = 4, seed: int = 0):
    """The output on values M'k + c, at keys not used, against M'q + c."""
    q, k, M, c = draw(n, d, seed)
    o = local_linear_attention(q, k, k @ M + c, ridge=0, scale=scale, causal=False)
    return o, q @ M + c, 1e-7


@settings(max_examples=40)
@given(st.floats(0, 1), st.integers(1, 4), st.integers(0, 10**6))
def test_exact_on_affine_maps(scale, d, seed):
    judgement = judge(claim(scale, 10 * d, d, seed))
    assert judgement.holds, "\n".join(judgement.lines)


def test_the_two_sums_in_exact_numbers():
    """Free positive weights and fractions as keys: both sums are identities, d = 2, four keys."""
    import sympy as sp

    w = sp.symbols("w0:4", positive=True)
    z = [sp.Matrix(x) for x in ([1, 0], [sp.Rational(-1, 2), 2], [3, 1], [-1, -1])]
    total, mu = sum(w), sum((a * x for a, x in zip(w, z, strict=True)), sp.zeros(2, 1))
    Sigma = sum((a * x * x.T for a, x in zip(w, z, strict=True)), sp.zeros(2, 2))
    rho = Sigma.inv() * mu
    s = [a * (1 - (x.T * rho)[0]) / (total - (mu.T * rho)[0]) for a, x in zip(w, z, strict=True)]
    assert sp.cancel(sum(s) - 1) == 0  # zero if and only if the rational function is
    moment = sum((a * x for a, x in zip(s, z, strict=True)), sp.zeros(2, 1))
    assert moment.applyfunc(sp.cancel) == sp.zeros(2, 1)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_with_a_ridge_the_first_moment_is_not_zero(ridge):
    q, k, _, _ = draw(40, 4, 0)
    w = np.exp(q @ k.T)
    s = smoother_weights(w, ridge * w.sum(1, keepdims=True), q, k)
    np.testing.assert_allclose(s.sum(1), 1, atol=1e-9)
    moment = np.abs(s @ k - q).max()
    assert moment < 1e-9 if ridge == 0 else moment > 0.1


def test_softmax_attention_is_not_exact():
    q, k, M, c = draw(40, 4, 0)
    assert np.abs(softmax(q @ k.T) @ (k @ M + c) - q @ M - c).max() > 1
