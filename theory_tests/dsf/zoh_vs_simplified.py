"""Per-channel step sizes: the exact hold of S6 is not its simplified write with another key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run

statement = (
    "With one state, a = -1 and step sizes 0.1 and 1 in two channels, the zero-order hold writes "
    "with the gains 1 - e^{-0.1} and 1 - e^{-1} (ratio 0.1505), the simplified rule with 0.1 and "
    "1 (ratio 0.1), and the decays fix the step sizes up to a common factor: no common key and "
    "rate make the two equal on the same values. With one step size for all channels they are "
    "equal, with k times (e^{dt a} - 1)/(dt a); as dt tends to 0 they agree."
)
reference = "dsf2026; the mechanism: gu2023"
falsified_by = "Step sizes, key and rate of the simplified rule with these decays and these writes."

ZOH, SIMPLE = dsf.mamba(discretisation="zoh"), dsf.mamba


def responses(family, dt: list[float], a: float = -1.0, k: float = 1.0) -> np.ndarray:
    """Outputs [2 tokens, channels] to the values (1, 0) in every channel, one state."""
    channels = len(dt)
    steps = np.array(dt).reshape(channels, 1, 1) * np.ones((1, 2, 1))
    v = np.zeros((channels, 2, 1))
    v[:, 0] = 1.0
    shared = {"q": np.ones((1, 2, 1)), "k": k * np.ones((1, 2, 1))}
    rate = np.full((channels, 1, 1), a)
    return run(family, v=v, dt=steps, a=rate, **shared)[..., 0].T


def claim(dt1: float = 0.1, dt2: float = 1.0) -> list:
    """Gains and decays of both rules, and the ratio that a common key would need."""
    zoh, simple = responses(ZOH, [dt1, dt2]), responses(SIMPLE, [dt1, dt2])
    dt = np.array([dt1, dt2])
    outcomes: list = [
        (zoh[0], 1 - np.exp(-dt), 1e-15),
        (simple[0], dt, 0.0),
        (zoh[1] / zoh[0], np.exp(-dt), 1e-14),
        (simple[1] / simple[0], np.exp(-dt), 1e-14),
    ]
    if (dt1, dt2) == (0.1, 1.0):
        outcomes.append((zoh[0, 0] / zoh[0, 1], 0.1505, 5e-5))
        outcomes.append((simple[0, 0] / simple[0, 1], 0.1, 1e-15))
    return outcomes


def test_the_claim_holds():
    assert judge(claim()).holds and judge(claim(0.3, 0.7)).holds


@given(st.floats(0.05, 1), st.floats(0.05, 1))
def test_the_ratio_of_the_gains_decides(dt1, dt2):
    """log of the decays has the ratio dt1/dt2, and so have the simplified gains; ZOH's have not."""
    zoh = responses(ZOH, [dt1, dt2])
    decay = np.log(zoh[1] / zoh[0])
    needed = decay[0] / decay[1]  # the ratio of simplified gains with these decays
    assert needed == pytest.approx(dt1 / dt2, rel=1e-9)
    if abs(dt1 - dt2) > 0.01:
        assert abs(zoh[0, 0] / zoh[0, 1] - needed) > 1e-4


@given(st.floats(0.05, 2), st.floats(-2, -0.1))
def test_equal_for_one_shared_step_size(dt, a):
    key = np.expm1(dt * a) / (dt * a)
    assert np.allclose(responses(ZOH, [dt, dt], a), responses(SIMPLE, [dt, dt], a, key), rtol=1e-13)


def test_they_agree_for_small_steps():
    for dt in (1e-3, 1e-5):
        ratio = responses(ZOH, [dt]) / responses(SIMPLE, [dt])
        assert np.all(np.abs(ratio - 1) < dt)
