"""The step of the GRU is not affine in its state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.worlds import precision
from dsf.theory_tests import judge
from dsf.verdicts.separations import AFFINE_STEP
from dsf.verdicts.separations.response import all_ones, midpoint_defect
from dsf.verdicts.separations.words import BITS

statement = (
    "One step of the GRU with one state at x = 1 from h = 0, 1/2 and 1: the middle image is "
    "0.0582 off the mean of the other two with all weights 1, and 0.0615 with U_r = -1. For a "
    "linear time-varying system, in any affine coordinates of its state, this is 0."
)
reference = "dsf2026; the mechanism: cho2014"
falsified_by = "A linear time-varying step with a midpoint defect, or a GRU without."


def defect(Ur: int) -> float:
    """f(1/2) - (f(0) + f(1))/2 with all weights 1 but U_r, enclosed."""
    letters = all_ones(dsf.gru)
    constants = {**letters.constants, "Ur": letters.constants["Ur"] * Ur}
    with precision(BITS):
        return float(midpoint_defect(replace(letters, constants=constants)))


def claim() -> list:
    """Both numbers, and the certificate."""
    return [
        (defect(1), 0.0582, 5e-5),
        (defect(-1), 0.0615, 5e-5),
        AFFINE_STEP.certificate(dsf.gla, dsf.gru),
    ]


def test_the_claim_holds():
    assert judge(claim()).holds


LINEAR = [dsf.gla, dsf.deltanet, dsf.mamba3, dsf.mlstm, dsf.lru, dsf.normalised_linear_attn]


@given(st.sampled_from(LINEAR), st.integers(0, 2**31))
def test_linear_steps_have_no_defect(family, seed):
    assert AFFINE_STEP.defect(family, np.random.default_rng(seed)) < 1e-13


@given(st.integers(0, 2**31))
def test_random_gru_steps_have_one(seed):
    assert AFFINE_STEP.defect(dsf.gru, np.random.default_rng(seed)) > 1e-7
