"""Weights that sum to one map constants to constants; unnormalised ones do not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.catalogue import family
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import CONSTANTS

statement = (
    "With one token, softmax and normalised linear attention return v_0, whatever q and k are; "
    "linear attention returns (q k) v, sigmoid attention s(q k + b) v, the delta rule beta (k q) "
    "v. A constant token gives a constant output exactly for the normalised ones; two tokens "
    "separate."
)
reference = "dsf2026"
falsified_by = "Normalised attention that turns equal values into another value."


def claim(q: float = 1.5, v: float = 2.0) -> list:
    """The outputs for one token, and the certificate."""
    one = {"q": [q], "k": [1.0], "v": [v]}
    return [
        (run(dsf.softmax, **one)[0, 0], v, 0.0),
        (run(dsf.normalised_linear_attn, **one)[0, 0], v, 1e-15 * abs(v)),
        (run(dsf.linear_attn, **one)[0, 0], q * v, 0.0),
        (run(dsf.deltanet, **one, beta=[0.5])[0, 0], 0.5 * q * v, 0.0),
        CONSTANTS.certificate(dsf.softmax, dsf.linear_attn),
    ]


def test_the_claim_holds():
    assert judge(claim()).holds and judge(claim(q=0.3, v=-1.0)).holds


def test_sigmoid_weights_do_not_sum_to_one():
    q, k, b = 1.5, 1.0, -np.log(8)
    assert 0 < 1 / (1 + np.exp(-(q * k + b))) < 1


NORMALISED = [dsf.softmax, dsf.window_softmax, dsf.normalised_linear_attn]


@given(st.sampled_from(NORMALISED), st.integers(1, 7), st.integers(0, 2**31))
def test_constant_values_come_back(family, L, seed):
    tok = family.draw_tokens(np.random.default_rng(seed), L, n=2, p=2)
    v = np.tile([3.0, -2.0], (L, 1))
    y = run(family, **{**dict(tok.items()), "v": v})
    assert np.allclose(y, v, rtol=1e-13)


def test_others_do_not_return_a_constant():
    for name in ("linear_attn", "normalised_attn", "retnet", "gla", "deltanet", "mamba2"):
        assert CONSTANTS.defect(family(name), np.random.default_rng(0)) > 1e-3, name
