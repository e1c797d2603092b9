"""Parity needs an eigenvalue that is not positive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.system import LTV
from dsf.core.transition import Diag
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import SIGN_CHANGES

statement = (
    "One state with transition 1 - 2x holds the parity of any number of bits exactly. A delta "
    "step with beta in (0, 2) shows it by its sign, with beta above 1 at the ones and below 1 at "
    "the zeros; with beta in (0, 1), or with any n real eigenvalues >= 0, the sign of a readout "
    "cannot follow the parity of 1^L for L >= n + 2."
)
reference = "grazzi2024; sarrof2024"
falsified_by = "Bits whose parity the state (1 - 2x_1)...(1 - 2x_L) misses."


def exact_state(bits: np.ndarray) -> np.ndarray:
    """The product of 1 - 2x over the bits so far: the scan of a scalar system from the state 1."""
    one = np.ones((1, 1, 1))
    ltv = LTV(Diag(a=1.0 - 2.0 * bits[:, None]), 0 * one, one, steps=len(bits))
    return ltv.scan(np.zeros((len(bits), 1, 1)), np.ones((1, 1)))[0][:, 0, 0]


def delta_sign(bits: np.ndarray, low: float, high: float) -> np.ndarray:
    """Sign of the output of a delta rule with one state: a first token writes 1, bits erase."""
    L = len(bits) + 1
    beta = np.concatenate([[1.0], np.where(bits == 1, high, low)])
    one = np.ones(L)
    y = run(dsf.deltanet(reach=2), q=one, k=one, v=[1.0] + [0.0] * (L - 1), beta=beta)
    return np.sign(y[1:, 0])


def claim(L: int = 64, seed: int = 0) -> list:
    """Both solutions on random bits, and the certificate that positive eigenvalues differ."""
    bits = np.random.default_rng(seed).integers(0, 2, L)
    parity = (-1.0) ** np.cumsum(bits)
    certificate = SIGN_CHANGES.certificate(dsf.deltanet, dsf.deltanet(reach=2))
    return [
        (exact_state(bits), parity, 0.0),
        (delta_sign(bits, 2**-8, 2 - 2**-8), parity, 0.0),
        certificate,
    ]


@pytest.mark.parametrize("L", [1, 2, 64, 3000])
def test_the_claim_holds(L):
    assert judge(claim(L)).holds


@given(st.integers(1, 300), st.integers(0, 2**31))
def test_parity_is_exact_for_all_bits(L, seed):
    bits = np.random.default_rng(seed).integers(0, 2, L)
    assert np.array_equal(exact_state(bits), (-1.0) ** np.cumsum(bits))


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_positive_eigenvalues_show_one_sign(low, high):
    bits = np.ones(20, dtype=int)
    assert np.all(delta_sign(bits, low, high) == 1)


def test_softmax_reads_parity_of_ones_at_no_length():
    """On 1^L attention without positions returns a constant."""
    y = run(dsf.softmax, q=np.ones(9), k=np.ones(9), v=np.ones(9))
    assert np.all(y == y[0])
