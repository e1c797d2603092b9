"""Interventions on a mixing map, read as changes of a linear recurrence."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.system import LTV
from dsf.core.transition import Diag
from dsf.solvers.heads.interventions import slot_logit, softmax

statement = (
    "M' = (1-u) M + u I is the same recurrence with C' = (1-u) C and D' = (1-u) D + u I, so it "
    "needs no more states; a head gate g scales C and makes rows sum to g; p slots before the "
    "sequence are an initial state of rank at most p; Q -> P Q with a banded P filters C."
)
reference = "derived"
falsified_by = "a kernel or an output that differs from the changed recurrence"


def system(L: int, n: int, seed: int) -> tuple[LTV, dict[str, np.ndarray]]:
    """A random decaying recurrence with scalar inputs and outputs."""
    rng = np.random.default_rng(seed)
    parts = {
        "a": rng.uniform(0.5, 1.0, (L, n)), "B": rng.standard_normal((L, n, 1)),
        "C": rng.standard_normal((L, 1, n)), "D": rng.standard_normal((L, 1, 1)),
    }  # fmt: skip
    return LTV(Diag(a=parts["a"]), parts["B"], parts["C"], parts["D"]), parts


def claim(L: int = 20, n: int = 3, u: float = 0.3, seed: int = 0):
    """The kernel of the interpolated recurrence against (1-u) M + u I."""
    ltv, s = system(L, n, seed)
    changed = LTV(Diag(a=s["a"]), s["B"], (1 - u) * s["C"], (1 - u) * s["D"] + u)
    return changed.kernel(), (1 - u) * ltv.kernel() + u * np.eye(L), 1e-13


@given(st.integers(1, 25), st.integers(1, 4), st.floats(0, 1), st.integers(0, 99))
def test_interpolation(L: int, n: int, u: float, seed: int) -> None:
    computed, theory, tolerance = claim(L, n, u, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance * 10)


@given(st.integers(0, 99))
def test_gates_scale_the_read_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k = rng.random((2, 9, 3)) + 0.1
    q = q / np.sum(q * np.cumsum(k, axis=0), axis=1, keepdims=True)  # rows sum to one
    gate = rng.random((9, 1, 1))
    ltv = LTV(Diag(a=np.ones((1, 3))), k[:, :, None], gate * q[:, None, :])
    np.testing.assert_allclose(ltv.kernel().sum(1), gate[:, 0, 0], rtol=1e-12)


@given(st.integers(0, 5), st.integers(1, 12), st.integers(0, 99))
def test_slots_are_an_initial_state(slots: int, L: int, seed: int) -> None:
    """Linear attention with `slots` more keys in front, and the state they leave."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((slots + L, w)) for w in (4, 4, 6))
    S0 = k[:slots].T @ v[:slots]
    assert slots == 0 or np.linalg.matrix_rank(S0) <= slots
    whole = np.tril(q @ k.T) @ v
    ltv = LTV(Diag(a=np.ones((1, 4))), k[slots:, :, None], q[slots:, None, :])
    Y, _ = ltv.scan(v[slots:, None, :], S0)
    np.testing.assert_allclose(Y[:, 0], whole[slots:], atol=1e-12)


@given(st.integers(1, 9), st.floats(0.01, 0.99), st.integers(0, 99))
def test_softmax_slots_leave_rows_of_less_than_one(keys: int, mix: float, seed: int) -> None:
    s = np.random.default_rng(seed).standard_normal(keys)
    row = softmax(np.append(s, slot_logit(s, mix)))
    assert abs(row.sum() - 1) < 1e-14 and abs(row[:-1].sum() - (1 - mix)) < 1e-13


@given(st.integers(3, 12), st.integers(0, 99))
def test_a_change_of_queries_filters_the_read_out(L: int, seed: int) -> None:
    """q_i -> (q_i + q_{i-1})/2 in unmasked linear attention: the rows of C are filtered."""
    rng = np.random.default_rng(seed)
    q, k = rng.standard_normal((2, L, 3))
    P = (np.eye(L) + np.eye(L, k=-1)) / 2
    ltv = LTV(Diag(a=np.ones((1, 3))), k[:, :, None], (P @ q)[:, None, :])
    np.testing.assert_allclose(ltv.kernel(), np.tril(P @ (q @ k.T)), atol=1e-13)
