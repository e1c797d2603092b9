"""The GRU is no linear time-varying system whose coefficients depend on the current token only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.certificate import Certificate
from dsf.theory_tests import judge
from dsf.verdicts.separations import RESPONSE_ORDER, separate
from dsf.verdicts.separations.response import all_ones, response_determinant
from dsf.verdicts.separations.words import floats

statement = (
    "With n states and coefficients that depend on the current token only, the response to a "
    "constant token obeys a linear recurrence of order n + 1, so its (n+2) x (n+2) Hankel "
    "determinant is 0 (2n+3 tokens). For the GRU with one state, all weights 1, from h = 0 at x = "
    "1 it is -1.24e-3, 1.53e-8, 1.64e-17, -6.89e-32, -5.17e-53 for n = 1..5, and the response "
    "obeys no linear recurrence of any order. With coefficients that depend on the whole past "
    "every causal map is such a system."
)
reference = "dsf2026; the mechanism: cho2014"
falsified_by = "A linear recurrence of order n + 1 that the response of this GRU obeys."

DETERMINANTS = {1: -1.24e-3, 2: 1.53e-8, 3: 1.64e-17, 4: -6.89e-32, 5: -5.17e-53}


def claim(n: int = 3) -> list:
    """The determinant, relative to the known number, and the certificate."""
    determinant, _ = response_determinant(all_ones(dsf.gru), n)
    opponent = dsf.recurrence(n, current_token_only=True)
    outcomes: list = [separate(dsf.gru, opponent)[0]]
    if n in DETERMINANTS:
        outcomes.append((float(determinant) / DETERMINANTS[n], 1.0, 4e-3))
    return outcomes


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_the_claim_holds(n):
    assert judge(claim(n)).holds


def test_every_n_at_once():
    """The certificate for a family checks the fixed point argument: f([0, 1]) and 0 < f' < 1."""
    c = next(c for c in separate(dsf.gla, dsf.gru) if c.kind == "separation/response")
    assert isinstance(c, Certificate) and c.check() and "every n" in c.claim


LINEAR = [dsf.gla, dsf.mamba, dsf.deltanet, dsf.lru, dsf.deltaproduct, dsf.rwkv6, dsf.mamba3]


@given(st.sampled_from(LINEAR), st.integers(0, 2**31))
def test_linear_systems_obey_a_recurrence(family, seed):
    assert RESPONSE_ORDER.defect(family, np.random.default_rng(seed)) < 1e-12


def test_the_response_tends_to_its_fixed_point():
    h = all_ones(dsf.gru).outputs("x" * 60, floats)[:, 0]
    assert np.all(np.diff(h) >= 0) and abs(h[-1] - h[-2]) < 1e-15
    ratios = np.diff(h)[1:12] / np.diff(h)[:11]
    assert np.all((ratios > 0) & (ratios < 1))
