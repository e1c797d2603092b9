"""From the Hankel norm to the operator norm: a factor of log2 L, and it is needed."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.states.apriori import dyadic_levels
from dsf.theory_tests import judge

statement = (
    "If E is strictly lower triangular and all its Hankel blocks satisfy |E[k:, :k]|_2 <= eps, "
    "then |E|_2 <= eps ceil(log2 L).  For E_ij = 1/(i-j) the Hankel norms stay below pi while "
    "|E|_2 grows like log L."
)
reference = "derived: split in half, the off-diagonal block is a Hankel block, recurse"
falsified_by = "a strictly lower triangular E with |E|_2 above eps ceil(log2 L)"

# L: (operator norm, largest Hankel norm) of E_ij = 1/(i-j)
HILBERT = {16: (2.69, 1.70), 64: (3.98, 2.00), 256: (5.32, 2.22)}


def norms(E: np.ndarray) -> tuple[float, float]:
    """|E|_2 and max_k |E[k:, :k]|_2."""
    blocks = [float(np.linalg.norm(E[k:, :k], 2)) for k in range(1, len(E))]
    return float(np.linalg.norm(E, 2)), max(blocks, default=0.0)


def hilbert(L: int) -> np.ndarray:
    """E_ij = 1/(i-j) for i > j, else 0."""
    lag = np.subtract.outer(np.arange(L), np.arange(L))
    return np.where(lag > 0, 1.0 / np.maximum(lag, 1), 0.0)


def claim(L: int = 64, seed: int = 0) -> list:
    """Violation of the lemma for a random matrix of random profile, and the table of 1/(i-j)."""
    rng = np.random.default_rng(seed)
    decay = np.abs(hilbert(L)) ** rng.uniform(0, 2)
    random = np.where(rng.random((L, L)) < rng.random(), rng.standard_normal((L, L)), 1.0)
    E = np.tril(decay * random, -1)
    whole, eps = norms(E)
    lemma = (max(whole - eps * dyadic_levels(L), 0.0), 0.0, 1e-12 * (1 + whole))
    if L not in HILBERT:
        return [lemma]
    return [lemma, (np.array(norms(hilbert(L))), np.array(HILBERT[L]), 0.005)]


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_lemma(L, seed):
    assert judge(claim(L, seed)).holds


def test_logarithm_is_genuine():
    for L in (16, 64, 256):
        assert judge(claim(L)).holds
    ratios = [whole / hankel for whole, hankel in (norms(hilbert(L)) for L in (16, 64, 256))]
    assert ratios[0] < ratios[1] < ratios[2]
    assert norms(hilbert(256))[1] < np.pi
