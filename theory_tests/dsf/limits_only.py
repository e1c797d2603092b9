"""Where an edge of the lattice is a limit, no member of the family reaches it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import FORGETTING, SETTLING

statement = (
    "Linear attention is a limit of retention, GLA, SSD, S6 and RWKV-6 and equal to none of them, "
    "DeltaNet is a limit of gated DeltaNet: the gate 1 is the open end of its domain. With n "
    "states and eigenvalues below 1 in modulus, what a token left cannot keep a value other than "
    "0 for n + 1 steps; linear attention keeps it for ever. The response of linear attention to a "
    "constant token grows by equal steps, that of DeltaNet settles."
)
reference = "dsf2026"
falsified_by = "A gate below 1 whose memory keeps a value for as many steps as there are states."

EDGES = [
    (dsf.retnet, dsf.linear_attn),
    (dsf.gla, dsf.linear_attn),
    (dsf.mamba2, dsf.linear_attn),
    (dsf.mamba, dsf.linear_attn),
    (dsf.rwkv6, dsf.linear_attn),
    (dsf.gated_deltanet, dsf.deltanet),
]


def claim() -> list:
    """The certificates, one for every edge."""
    stays = [FORGETTING.certificate(general, special) for general, special in EDGES]
    return [*stays, SETTLING.certificate(dsf.deltanet, dsf.linear_attn)]


def test_the_claim_holds():
    assert judge(claim()).holds


@pytest.mark.parametrize("separation", [FORGETTING, SETTLING], ids=lambda s: s.name)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_gates_below_one_fade(separation, data, seed):
    members = [general for general, _ in EDGES]
    family = data.draw(st.sampled_from(members))
    assert separation.defect(family, np.random.default_rng(seed)) == 0.0


def test_the_limit_is_approached():
    """Retention tends to linear attention for a fixed length, and not uniformly in the length."""

    def gap(gamma: float, L: int) -> float:
        x = np.ones(L)
        kept = run(dsf.linear_attn, q=x, k=x, v=x)[-1, 0]
        return abs(kept - run(dsf.retnet, q=x, k=x, v=x, gamma=[gamma])[-1, 0]) / kept

    assert gap(1 - 1e-6, 10) < 1e-5 < gap(1 - 1e-3, 10) < 1e-2
    assert gap(1 - 1e-3, 10000) > 0.5
