"""What separates normalised attention from SSD is the order of the past, not a single row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import ORDER_BLIND

statement = (
    "For a constant query the ratio M_ij / M_il (j, l < i) does not depend on i, neither for "
    "normalised attention nor for SSD: no row tells them apart. Exchanging the tokens j and l "
    "does: it exchanges the two entries of normalised attention, and changes a row of SSD."
)
reference = "dsf2026; sieber2024"
falsified_by = "Normalised attention whose last output depends on the order of earlier tokens."

L, N = 6, 2


def kernels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of normalised attention and of SSD with one query for all tokens."""
    rng = np.random.default_rng(seed)
    q, k = np.tile(rng.uniform(0.5, 1, N), (L, 1)), rng.uniform(0.5, 1, (L, N))
    positive = rng.uniform(0.3, 1, L)
    attention = run(dsf.normalised_attn, q=q, k=k, v=np.eye(L), eta=positive)
    ssd = run(dsf.mamba2, q=q, k=k, v=np.eye(L), dt=positive, a=[-0.7])
    return attention, ssd


def claim(seed: int = 0) -> list:
    """Ratios of two columns below the diagonal, and the certificate."""
    outcomes: list = []
    for M in kernels(seed):
        ratio = M[2:, 0] / M[2:, 1]
        outcomes.append((ratio, np.full(L - 2, ratio[0]), 1e-13 * abs(ratio[0])))
    return [*outcomes, ORDER_BLIND.certificate(dsf.normalised_attn, dsf.mamba2)]


def test_the_claim_holds():
    assert judge(claim()).holds


@given(st.integers(0, 2**31))
def test_ratios_for_random_tokens(seed):
    assert judge(claim(seed)[:2]).holds
