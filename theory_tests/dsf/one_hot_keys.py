"""With one-hot keys the delta rule is a diagonal gate."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.lattice.equal_when import equal_when

statement = (
    "A step of DeltaNet from any state is a step of GLA exactly when its key is one-hot; then the "
    "gate is 1 - beta k*k and the key beta k. Off the key the gate is 1, the closed end of its "
    "domain; for gated DeltaNet it is below 1. If all keys of a sequence are restricted, parallel "
    "keys or keys of disjoint support are enough for equal outputs."
)
reference = "dsf2026; schlag2021; yang2023"
falsified_by = "A unit key with two entries whose step, from every state, is a diagonal one."


def outputs(k: np.ndarray, gate: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """DeltaNet on the keys k [L n], and GLA with gates [L n] and keys beta k."""
    rng = np.random.default_rng(seed)
    L, n = k.shape
    q, v = rng.standard_normal((L, n)), rng.standard_normal((L, 2))
    beta = np.linspace(0.2, 0.9, L)[:, None]
    with np.errstate(divide="ignore"):
        log_a = np.log(1 - beta * gate)
    delta = run(dsf.deltanet, q=q, k=k, v=v, beta=beta)
    return delta, run(dsf.gla, q=q, k=beta * k, v=v, log_a=log_a)


def claim(L: int = 20, n: int = 4, seed: int = 0) -> list:
    """Outputs with random one-hot keys, and the certificates of both delta rules."""
    rng = np.random.default_rng(seed)
    k = np.eye(n)[rng.integers(0, n, L)] * rng.choice([-1, 1], (L, 1))
    found = [equal_when(dsf.gla, rule) for rule in (dsf.deltanet, dsf.gated_deltanet)]
    delta, gla = outputs(k, k * k, seed)
    return [(gla, delta, 1e-13), *[c.certificate for c in found if c is not None]]


def test_the_claim_holds():
    assert len(claim()) == 3
    assert judge(claim()).holds


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**31))
def test_random_one_hot_keys(L, n, seed):
    assert judge(claim(L, n, seed)[:1]).holds


def test_disjoint_supports_are_enough_for_outputs():
    keys = np.array([[0.6, 0.8, 0, 0], [0, 0, 0.8, -0.6]])[[0, 1, 1, 0, 1, 0]]
    delta, gla = outputs(keys, (keys != 0).astype(float), 1)
    assert np.abs(delta - gla).max() < 1e-14


def test_other_keys_are_not():
    keys = np.array([[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]])
    delta, gla = outputs(keys, keys * keys, 1)
    assert np.abs(delta - gla).max() > 0.01
