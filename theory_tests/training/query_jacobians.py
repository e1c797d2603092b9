"""Which rows can tell their queries apart: the rank of the Jacobian of a row in its query."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dsf.core import ops
from dsf.solvers.heads.interventions import softmax

statement = (
    "A row w(q) that depends on q through d features divided by their sum has a Jacobian of rank "
    "d - 1 at most, so different queries collide along curves. Softmax, sigmoid, the full Taylor "
    "kernel and unnormalised linear attention reach d; the approximate variant has d - 1, because "
    "its row does not change under q -> c q; the non-approximate one has 0."
)
reference = "derived"
falsified_by = "a rank above the stated one"

D = 4
Row = Callable[[np.ndarray, np.ndarray], np.ndarray]


def share(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def series(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    s = k @ q / D**0.5
    return share(1 + s + s * s / 2)


ROWS: dict[str, tuple[Row, int]] = {
    "softmax": (lambda q, k: softmax(k @ q / D**0.5), D),
    "sigmoid": (lambda q, k: ops.sigmoid(k @ q), D),
    "linear": (lambda q, k: k @ q, D),
    "taylor": (series, D),
    "linear elu+1, normalised": (lambda q, k: share(ops.elu1(k) @ ops.elu1(q)), D - 1),
    "approximate": (lambda q, k: 1 / len(k) + share(k @ q) + share(k**2 @ q**2), D - 1),
    "non-approximate": (lambda q, k: softmax(k[:, 0]), 0),  # logits of the keys, whatever q
}


def jacobian(row: Row, q: np.ndarray, k: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """dw/dq [keys d] by central differences."""
    moved = step * np.eye(len(q))
    return np.stack([(row(q + e, k) - row(q - e, k)) / (2 * step) for e in moved], axis=1)


def claim(name: str = "taylor", seed: int = 0):
    """The rank of dw/dq at a random query, with singular values above 1e-6 of the largest."""
    row, theory = ROWS[name]
    rng = np.random.default_rng(seed)
    values = np.linalg.svd(
        jacobian(row, rng.standard_normal(D), rng.standard_normal((40, D))), compute_uv=False
    )
    return int(np.sum(values > 1e-6 * max(values[0], 1e-3))), theory, 0


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("seed", range(15))
def test_ranks(name: str, seed: int) -> None:
    computed, theory, _ = claim(name, seed)
    assert computed == theory


def test_a_collision() -> None:
    """Two queries far apart with the same row: positive features scaled by a number."""
    k = np.random.default_rng(0).standard_normal((40, D))
    row = ROWS["linear elu+1, normalised"][0]
    q = np.abs(np.random.default_rng(1).standard_normal(D))
    other = 2 * (q + 1) - 1  # elu1(other) = 2 elu1(q)
    assert np.linalg.norm(q - other) > 0.3
    np.testing.assert_allclose(row(q, k), row(other, k), atol=1e-14)
