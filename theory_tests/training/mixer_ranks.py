"""States that a mixing map needs: its semiseparable rank, not its rank."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.core import ops
from dsf.solvers.heads.deconstructed import MAPS, mixing_map

statement = (
    "A causal map with a non-zero diagonal has full rank, whatever its states. The largest rank of "
    "a block M[i:, :i] counts them: n/2 for softmax and sigmoid (the maximum), 1 + d + d(d+1)/2 "
    "for the Taylor kernel, 1 + 2d for the approximate one, d for linear attention, 1 for uniform "
    "and non-approximate rows, 0 without mixing."
)
reference = "derived"
falsified_by = "a block of higher rank, or random tokens that do not reach the number"

D = 4
EXPECTED = {
    "standard": 20, "sigmoid": 20, "taylor": 1 + D + D * (D + 1) // 2, "approximate": 1 + 2 * D,
    "linear elu+1": D, "non-approximate": 1, "uniform": 1, "mlp": 0,
}  # fmt: skip


def mixer(name: str, n: int, seed: int) -> np.ndarray:
    q, k = np.random.default_rng(seed).standard_normal((2, n, D))
    if name == "sigmoid":
        return np.tril(ops.sigmoid(q @ k.T))
    if name == "linear elu+1":
        weights = np.tril(ops.elu1(q) @ ops.elu1(k).T)
        return weights / weights.sum(1, keepdims=True)
    return mixing_map(name, q, k)


def semiseparable_rank(M: np.ndarray, tolerance: float = 1e-9) -> int:
    """max_i rank M[i:, :i], singular values above `tolerance` times the largest of the block."""
    blocks = (np.linalg.svd(M[i:, :i], compute_uv=False) for i in range(1, len(M)))
    return max(int(np.sum(s > tolerance * max(s[0], 1e-300))) for s in blocks)


def claim(name: str = "taylor", n: int = 40, seed: int = 0):
    """The semiseparable rank of a map on random tokens against the count."""
    return semiseparable_rank(mixer(name, n, seed)), EXPECTED[name], 0


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_ranks(name: str, seed: int) -> None:
    computed, theory, _ = claim(name, seed=seed)
    assert computed == theory


@pytest.mark.parametrize("name", [n for n in EXPECTED if n != "approximate"])
def test_the_plain_rank_of_a_causal_map_says_nothing(name: str) -> None:
    M = mixer(name, 12, 0)
    assert np.all(np.diagonal(M) != 0) and np.all(np.triu(M, 1) == 0)
    sign, log = np.linalg.slogdet(M)
    assert sign != 0 and log == pytest.approx(np.log(np.abs(np.diagonal(M))).sum())


def test_every_map_is_causal() -> None:
    q, k = np.random.default_rng(3).standard_normal((2, 9, D))
    for name in MAPS:
        before = mixing_map(name, q, k)
        moved = [x.copy() for x in (q, k)]
        for x in moved:
            x[5] += 1
        after = mixing_map(name, *moved)
        np.testing.assert_array_equal(after[:5], before[:5])
        assert np.all(np.triu(after, 1) == 0)
