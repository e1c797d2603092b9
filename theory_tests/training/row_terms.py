"""Softmax does not see a term that is constant along a row; elementwise weights do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.core import ops
from dsf.solvers.heads.interventions import clipped_softmax, softmax

statement = (
    "Adding a_i + c_j to the logits of softmax is the same as adding c_j; clipped softmax inherits "
    "this. Sigmoid and softplus weights change with a_i."
)
reference = "derived"
falsified_by = "a softmax row that moves with a_i, or elementwise weights that do not"


def claim(T: int = 8, seed: int = 0):
    """softmax(s + a_i + c_j) against softmax(s + c_j)."""
    rng = np.random.default_rng(seed)
    s, a, c = rng.standard_normal((T, T)), rng.standard_normal((T, 1)), rng.standard_normal(T)
    return softmax(s + a + c), softmax(s + c), 1e-14


@given(st.integers(1, 20), st.integers(0, 99))
def test_row_terms(T: int, seed: int) -> None:
    computed, theory, tolerance = claim(T, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)
    s = np.random.default_rng(seed).standard_normal((T, T))
    np.testing.assert_allclose(clipped_softmax(s + 3, -0.1), clipped_softmax(s, -0.1), atol=1e-14)
    for weights in (ops.sigmoid, ops.softplus):
        assert np.all(np.abs(weights(s + 1) - weights(s)) > 1e-3)
