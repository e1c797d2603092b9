"""A scalar decay answers a constant token with one exponential."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import RESPONSE

statement = (
    "On a constant token let d_i = y_{i+1} - y_i. With a scalar decay d_1^2 = d_0 d_2, and "
    "d_1/d_0 is that decay: gamma for retention, 1 for linear attention. Gated linear attention "
    "with the gates 1/2 and 9/10 has d_1^2 - d_0 d_2 = -0.072. Four tokens."
)
reference = "dsf2026"
falsified_by = "A scalar decay with d_1^2 different from d_0 d_2 on a constant token."


def differences(family, L: int, **fields) -> np.ndarray:
    tiled = {k: np.tile(x, (L, 1)) for k, x in fields.items() if k != "gamma"}
    gamma = {"gamma": fields["gamma"]} if "gamma" in fields else {}
    return np.diff(run(family, **tiled, **gamma)[:, 0])


def claim(gamma: float = 0.7) -> list:
    """The ratios, the defect of two gates, and the certificate."""
    one, two = {"q": [1.0], "k": [1.0], "v": [1.0]}, {"q": [1.0, 1.0], "k": [1.0, 1.0], "v": [1.0]}
    decayed = differences(dsf.retnet, 4, **one, gamma=[gamma])
    kept = differences(dsf.linear_attn, 4, **one)
    gated = differences(dsf.gla, 4, **two, log_a=np.log([0.5, 0.9]))
    return [
        (decayed[1] / decayed[0], gamma, 1e-14),
        (decayed[1] ** 2 - decayed[0] * decayed[2], 0.0, 1e-15),
        (kept[1] / kept[0], 1.0, 0.0),
        (gated[1] ** 2 - gated[0] * gated[2], -0.072, 1e-14),
        RESPONSE.certificate(dsf.retnet, dsf.gla),
    ]


@pytest.mark.parametrize("gamma", [0.7, 0.01, 0.99])
def test_the_claim_holds(gamma):
    assert judge(claim(gamma)).holds


SCALAR = [dsf.retnet, dsf.mamba2, dsf.qlstm, dsf.rglru, dsf.deltanet, dsf.gated_deltanet]


@given(st.sampled_from(SCALAR), st.integers(0, 2**31))
def test_random_scalar_tokens(family, seed):
    assert RESPONSE.defect(family, np.random.default_rng(seed)) < 1e-13


@given(st.integers(0, 2**31))
def test_two_gates_violate_it(seed):
    rng = np.random.default_rng(seed)
    q, k = rng.uniform(0.5, 1, (2, 2))
    a = np.array([rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)])
    d = differences(dsf.gla, 4, q=q, k=k, v=[1.0], log_a=np.log(a))
    # with c_i = q_i k_i > 0: d_1^2 - d_0 d_2 = -c_1 c_2 a_1 a_2 (a_1 - a_2)^2
    c = q * k
    assert d[1] ** 2 - d[0] * d[2] == pytest.approx(-c.prod() * a.prod() * (a[0] - a[1]) ** 2)
