"""The LRU mixes channels, S4D does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.verdicts.separations import CHANNELS

statement = (
    "For d > 1 the LRU is no S4D: one token with an input on channel 1 only gives an output on "
    "channel 2, Re(C gamma B)_{21}. Every output channel of S4D depends on its own input channel "
    "only."
)
reference = "dsf2026; the mechanisms: orvieto2023, gu2022"
falsified_by = "An S4D whose output channel depends on another input channel."


def claim(seed: int = 0) -> list:
    """The entry of the first output that mixes, and the certificate."""
    mech = dsf.lru.init(2, n=3, seed=seed)
    y = mech(np.array([[1.0, 0.0]]))
    B = np.exp(mech.log_gamma) * (mech.b_re + 1j * mech.b_im)
    C = mech.c_re + 1j * mech.c_im
    return [(y[0, 1], (C @ B).real[1, 0], 1e-14), CHANNELS.certificate(dsf.s4d, dsf.lru)]


def test_the_claim_holds():
    assert judge(claim()).holds and judge(claim(seed=5)).holds


@given(st.sampled_from(["zoh", "bilinear"]), st.integers(1, 6), st.integers(0, 2**31))
def test_s4d_keeps_channels_apart(discretisation, L, seed):
    rng = np.random.default_rng(seed)
    mech = dsf.s4d(discretisation=discretisation).init(3, n=2, seed=seed % 100)
    u, w = rng.standard_normal((2, L, 3))
    w[:, 1] = u[:, 1]
    assert np.array_equal(mech(u)[:, 1], mech(w)[:, 1])
