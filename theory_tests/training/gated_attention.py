"""A gate after attention makes the value path nonlinear; it does not raise its rank."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers.heads.interventions import gated_head, gated_output, sigmoid, softmax

statement = (
    "One head's output matrix has rank at most d_k without a gate and with one on queries (G4), "
    "keys (G3), values (G2) or after attention (G1); an elementwise gate after the output "
    "projection (G5) exceeds it. At frozen rows G1, G2 and G5 make the value path nonlinear; "
    "without a gate, and with G3 and G4, it is additive."
)
reference = "qiu2025 (arXiv 2505.06708) for the positions; the rank statement is derived here"
falsified_by = "a rank above d_k with G1 to G4, or an additivity defect with none, G3 or G4"

T, D, DK = 256, 32, 4
EXPECTED = {"none": DK, "G1": DK, "G1 headwise": DK, "G2": DK, "G3": DK, "G4": DK, "G5": D}
ADDITIVE = ("none", "G3", "G4")


def path(where: str, x: np.ndarray, seed: int = 0, frozen: bool = True) -> np.ndarray:
    """Output [T D] of one head with the gate at `where`; frozen rows are fixed by the seed."""
    rng = np.random.default_rng(seed)
    rows = softmax(np.where(np.tri(T, dtype=bool), rng.standard_normal((T, T)), -np.inf))
    Wq, Wk, Wv = rng.standard_normal((3, D, DK)) / D**0.5
    Wo, Wg = rng.standard_normal((DK, D)) / DK**0.5, rng.standard_normal((D, D)) / D**0.5
    gate, _, headwise = where.partition(" ")
    width = 1 if headwise else D if gate == "G5" else DK
    return gated_head(x, Wq, Wk, Wv, Wo, gate, Wg[:, :width], rows if frozen else None)


def claim(where: str = "G1", seed: int = 0):
    """The rank of the output matrix."""
    x = np.random.default_rng(seed + 1).standard_normal((T, D))
    return np.linalg.matrix_rank(path(where, x, seed)), EXPECTED[where], 0


@pytest.mark.parametrize("where", EXPECTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_rank(where: str, seed: int) -> None:
    computed, theory, _ = claim(where, seed)
    assert computed == theory
    x = np.random.default_rng(seed).standard_normal((T, D))
    assert np.linalg.matrix_rank(path(where, x, seed, frozen=False)) == theory


@pytest.mark.parametrize("where", EXPECTED)
def test_additivity(where: str) -> None:
    x, y = np.random.default_rng(2).standard_normal((2, T, D))
    both = path(where, x + y)
    defect = np.linalg.norm(both - path(where, x) - path(where, y)) / np.linalg.norm(both)
    assert defect < 1e-14 if where in ADDITIVE else defect > 0.2


def test_row_sums_are_the_gates() -> None:
    rng = np.random.default_rng(0)
    rows = softmax(rng.standard_normal((5, 5)))
    x, w = rng.standard_normal((5, 3)), rng.standard_normal((3, 1))
    gate = sigmoid(x @ w)
    np.testing.assert_allclose(gated_output(rows, x, w).sum(1), gate[:, 0])
    assert np.all((gate > 0) & (gate < 1))


def test_limits() -> None:
    rng = np.random.default_rng(0)
    o, x = rng.standard_normal((2, 6, 3))
    np.testing.assert_array_equal(gated_output(o, x, np.zeros((3, 3))), o / 2)
    np.testing.assert_allclose(gated_output(o, x, np.zeros((3, 3)), 40.0), o, rtol=1e-14)


def test_a_constant_gate_scales_the_hull_of_the_values() -> None:
    """Zero gate weights and a bias: every output is that multiple of a mean of values."""
    rng = np.random.default_rng(1)
    rows, v = softmax(rng.standard_normal((5, 7))), rng.standard_normal((7, 3))
    gate = 0.25
    out = gated_output(rows @ v, np.zeros((5, 2)), np.zeros((2, 1)), np.log(gate / (1 - gate)))
    np.testing.assert_allclose(out, gate * (rows @ v), rtol=1e-14)
    assert np.all(out <= gate * v.max(0) + 1e-15) and np.all(out >= gate * v.min(0) - 1e-15)


@pytest.mark.parametrize("pi", [0.1, 0.25, 0.9])
def test_the_bias_that_starts_a_gate_at_pi(pi: float) -> None:
    """bias logit(pi) and an output divided by pi leave a trained head as it was."""
    o = np.random.default_rng(2).standard_normal((4, 3))
    bias = float(np.log(pi) - np.log1p(-pi))
    start = gated_output(o, np.ones((4, 2)), np.zeros((2, 3)), bias)
    np.testing.assert_allclose(start / pi, o, rtol=1e-14)
