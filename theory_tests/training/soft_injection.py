"""Soft injection of a task embedding is attention with one more key, of fixed weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import inject, slot_logit, softmax

statement = (
    "(1-m) o + m e is attention with one more key of value e and logit logsumexp(s) + "
    "log(m/(1-m)): the weight of that key is m in every row, instead of depending on the query. "
    "Embeddings of two tasks interpolate: injecting their mean is the mean of both injections."
)
reference = "derived; the operator is that of arXiv 2507.20906"
falsified_by = "an output off the slot form, or a weight of the extra key that is not m"


def claim(keys: int = 9, mix: float = 0.3, seed: int = 0):
    """The injected output against attention over keys + 1 slots."""
    rng = np.random.default_rng(seed)
    s, v, e = rng.standard_normal(keys), rng.standard_normal((keys, 4)), rng.standard_normal(4)
    rows = softmax(np.append(s, slot_logit(s, mix)))
    return inject(softmax(s) @ v, e, mix), rows @ np.vstack([v, e]), 1e-13


@given(st.integers(1, 40), st.floats(1e-6, 1 - 1e-6), st.integers(0, 99))
def test_slot_form(keys: int, mix: float, seed: int) -> None:
    computed, theory, tolerance = claim(keys, mix, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


@pytest.mark.parametrize("mix, which", [(0.0, 0), (1.0, 1)])
def test_ends(mix: float, which: int) -> None:
    pair = np.random.default_rng(0).standard_normal((2, 4))
    np.testing.assert_array_equal(inject(pair[0], pair[1], mix), pair[which])


@given(st.integers(1, 12), st.floats(0.01, 0.99), st.integers(0, 99))
def test_the_extra_weight_is_pinned_and_the_others_keep_their_ratios(
    keys: int, mix: float, seed: int
) -> None:
    s = 5 * np.random.default_rng(seed).standard_normal((4, keys))
    rows = softmax(np.concatenate([s, slot_logit(s, mix)[:, None]], axis=1))
    np.testing.assert_allclose(rows[:, -1], mix)
    np.testing.assert_allclose(rows[:, :-1], (1 - mix) * softmax(s), atol=1e-14)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_two_tasks_interpolate(mix: float, part: float, seed: int) -> None:
    o, e, f = np.random.default_rng(seed).standard_normal((3, 4))
    both = inject(o, (1 - part) * e + part * f, mix)
    np.testing.assert_allclose(
        both, (1 - part) * inject(o, e, mix) + part * inject(o, f, mix), atol=1e-14
    )
