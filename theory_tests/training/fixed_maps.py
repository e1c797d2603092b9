"""Attention with queries and keys from elsewhere: a map that does not depend on the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.deconstructed import mixing_map, qk_source

statement = (
    "With queries and keys from fixed inputs (RndEmbQK, FixedSeqQK) a stack of attention layers is "
    "linear in its input: f(x + y) = f(x) + f(y). With queries and keys from the token embeddings "
    "(StaticEmbQK) all maps are known before the first layer runs, and depend on the input alone."
)
reference = "xue2025 (arXiv 2510.11602); the linearity is derived here"
falsified_by = "an additivity defect with fixed maps, or none with standard attention"

T, D, LAYERS = 12, 6, 3


def stack(name: str, x: np.ndarray, seed: int = 0, values: float = 1.0) -> tuple[np.ndarray, list]:
    """(output [T D], maps) of residual layers H <- H + A H Wv; the fixed source goes through the
    same layers with standard attention; `values` scales Wv."""
    rng = np.random.default_rng(seed)
    fixed, hidden, maps = rng.standard_normal((T, D)), x, []
    for _ in range(LAYERS):
        Wq, Wk, Wv = rng.standard_normal((3, D, D)) / D**0.5
        source = qk_source(name, hidden, x, fixed)
        maps.append(mixing_map(name, source @ Wq, source @ Wk))
        hidden = hidden + maps[-1] @ hidden @ (values * Wv)
        fixed = fixed + mixing_map("standard", fixed @ Wq, fixed @ Wk) @ fixed @ Wv
    return hidden, maps


def inputs(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 7]).standard_normal((2, T, D))


def claim(name: str = "RndEmbQK", seed: int = 0):
    """f(x + y) against f(x) + f(y)."""
    x, y = inputs(seed)
    return stack(name, x + y)[0], stack(name, x)[0] + stack(name, y)[0], 1e-12


@pytest.mark.parametrize("name", ["RndEmbQK", "FixedSeqQK", "mlp", "uniform"])
@given(st.integers(0, 99))
def test_linear_in_the_input(name: str, seed: int) -> None:
    computed, theory, tolerance = claim(name, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance * 10)


@pytest.mark.parametrize("name", ["standard", "StaticEmbQK", "non-approximate", "taylor"])
def test_the_others_are_not(name: str) -> None:
    computed, theory, _ = claim(name)
    assert np.abs(computed - theory).max() > 0.1


def test_what_moves_the_maps() -> None:
    x, y = inputs(0)

    def moved(name: str, a: tuple, b: tuple) -> list[bool]:
        maps = zip(stack(name, *a)[1], stack(name, *b)[1], strict=True)
        return [not np.array_equal(m, n) for m, n in maps]

    other_input, other_values = ((x,), (y,)), ((x, 0, 1.0), (x, 0, 2.0))
    assert moved("RndEmbQK", *other_input) == [False] * LAYERS
    assert moved("StaticEmbQK", *other_input) == [True] * LAYERS
    assert moved("StaticEmbQK", *other_values) == [False] * LAYERS
    assert moved("standard", *other_values) == [False, True, True]
