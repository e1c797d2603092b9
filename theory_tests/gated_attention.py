"""A gate after attention makes the value path nonlinear; it does not raise its rank."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers.interventions import gated_output, sigmoid, softmax

statement = (
    "One head's output matrix has rank at most d_k without a gate and with one on values (G2) or "
    "after attention (G1); a gate after the output projection (G5) exceeds it. All gates make the "
    "value path at frozen attention rows nonlinear; without a gate it is additive."
)
reference = "qiu2025 (arXiv 2505.06708) for the positions; the rank statement is derived here"
falsified_by = "a rank above d_k with G1 or G2, or an additivity defect without a gate"

T, D, DK = 256, 32, 4
EXPECTED = {"none": DK, "G1": DK, "G1 headwise": DK, "G2": DK, "G5": D}


def path(where: str, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Output [T D] of one head with rows fixed by the seed and the gate at `where`."""
    rng = np.random.default_rng(seed)
    rows = softmax(np.where(np.tri(T, dtype=bool), rng.standard_normal((T, T)), -np.inf))
    Wv, Wo = rng.standard_normal((D, DK)) / D**0.5, rng.standard_normal((DK, D)) / DK**0.5
    Wg = rng.standard_normal((D, D)) / D**0.5
    values = x @ Wv
    if where == "G2":
        values = gated_output(values, x, Wg[:, :DK])
    out = rows @ values
    if where.startswith("G1"):
        out = gated_output(out, x, Wg[:, :1] if where.endswith("headwise") else Wg[:, :DK])
    out = out @ Wo
    return gated_output(out, x, Wg) if where == "G5" else out


def claim(where: str = "G1", seed: int = 0):
    """The rank of the output matrix."""
    x = np.random.default_rng(seed + 1).standard_normal((T, D))
    return np.linalg.matrix_rank(path(where, x, seed)), EXPECTED[where], 0


@pytest.mark.parametrize("where", EXPECTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_rank(where: str, seed: int) -> None:
    computed, theory, _ = claim(where, seed)
    assert computed == theory


@pytest.mark.parametrize("where", EXPECTED)
def test_additivity(where: str) -> None:
    x, y = np.random.default_rng(2).standard_normal((2, T, D))
    both = path(where, x + y)
    defect = np.linalg.norm(both - path(where, x) - path(where, y)) / np.linalg.norm(both)
    assert defect < 1e-14 if where == "none" else defect > 0.2


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
