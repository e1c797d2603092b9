"""The scaled ratio passes what is right and refuses what is known to be wrong."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.core import metrics
from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag
from dsf.testing.structure import to_longdouble


def scalar_decay(L, low, rng, dtype=np.float32):
    a = rng.uniform(low, 1, (L, 1)).astype(dtype)
    B, C = rng.standard_normal((2, L, 8)).astype(dtype)
    ltv = LTV(Diag(log_a=np.log(a), size=8), B[..., None], C[:, None, :])
    return ltv, rng.standard_normal((L, 1, 1)).astype(dtype)


def exact(ltv, X):
    return ltv.map(to_longdouble).scan(to_longdouble(X))[0]


def by_cumulative_sums(ltv, X):
    """The matrix form with decay exp(c_i - c_j), c = cumsum(log a): banned, and this is why."""
    c = np.cumsum(ltv.A.log_a[:, 0], dtype=X.dtype)
    M = (ltv.C[:, 0] @ ltv.B[..., 0].T) * np.exp(np.tril(c[:, None] - c[None, :]))
    return (np.tril(M) @ X[:, 0])[:, None]


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("low", [0.3, 0.9])
def test_the_gate_passes_recurrences_and_refuses_cumulative_sums(low, dtype):
    ltv, X = scalar_decay(1024 if low == 0.3 else 2048, low, np.random.default_rng(0), dtype)
    scale, gate = metrics.scale(ltv, X), metrics.gate(metrics.effective_length(ltv))
    good = metrics.ratio(ltv.scan(X)[0], exact(ltv, X), scale)
    chunked = metrics.ratio(ltv.chunk(X, 64)[0], exact(ltv, X), scale)
    bad = metrics.ratio(by_cumulative_sums(ltv, X), exact(ltv, X), scale)
    assert good < 0.9 * gate
    assert chunked < 0.9 * gate
    assert bad > 2 * gate


def test_one_wrong_row_is_seen():
    """A root mean square of 2e5 rows hides a zeroed one; the ratio and the worst row do not."""
    y = np.random.default_rng(0).standard_normal((200_000, 4))
    wrong = y.copy()
    wrong[777] = 0
    rms = np.sqrt(((wrong - y) ** 2).mean() / (y**2).mean())
    assert rms < 0.005
    assert metrics.worst_row(wrong, y) == 1
    assert metrics.ratio(wrong, y, np.abs(y)) > 1e15


def test_entrywise_scales_would_be_useless_for_reflections():
    """|A| .. |A| of orthogonal matrices explodes; their norms do not."""
    rng = np.random.default_rng(0)
    k = rng.standard_normal((200, 4))
    k /= np.linalg.norm(k, axis=1, keepdims=True)
    A = np.eye(4) - 2 * k[:, :, None] * k[:, None, :]
    ltv = LTV(Dense(A), np.ones((1, 4, 1)), np.ones((1, 1, 4)))
    entrywise = np.eye(4)
    for a in A:
        entrywise = np.abs(a) @ entrywise
    X = rng.standard_normal((200, 1, 1))
    assert entrywise.max() > 1e15
    assert metrics.scale(ltv, X).max() < 5 * np.abs(X).sum()


def test_not_finite_is_never_close():
    one = np.ones(2)
    assert metrics.ratio(np.array([1, np.nan]), one, one) == np.inf
    assert metrics.ratio(np.array([1, np.inf]), np.array([1, np.inf]), one) == np.inf
    assert metrics.ratio(np.zeros(0), np.zeros(0), np.zeros(0)) == 0


def test_the_floor_is_the_smallest_subnormal():
    tiny = np.array([5e-324])
    assert metrics.ratio(tiny, np.zeros(1), np.array([1e-310])) == 1
    assert metrics.ratio(tiny, np.zeros(1), np.zeros(1)) == 1


def test_units():
    import torch

    assert metrics.unit(torch.float32) == metrics.unit(np.float32) == 2.0**-23
    with pytest.raises(TypeError, match="bfloat16"):
        metrics.unit(torch.bfloat16)


def test_the_effective_length():
    one = np.ones((1, 1, 1))
    assert metrics.effective_length(
        LTV(Diag(a=one[0] * 0.9), one, one, steps=1000)
    ) == pytest.approx(10)
    assert metrics.effective_length(LTV(Diag(a=one[0]), one, one, steps=1000)) == 1000
    assert metrics.effective_length(LTV(Dense(one), one, one, steps=1000)) == 1000


def test_the_scale_counts_the_incoming_state():
    rng = np.random.default_rng(0)
    X, S = np.zeros((4, 1, 1)), rng.standard_normal((2, 1))
    for A in (Diag(a=np.full((4, 2), 0.5)), Dense(np.full((4, 2, 2), 0.3))):
        for read in ("after", "before"):
            ltv = LTV(A, np.ones((4, 2, 1)), np.ones((4, 1, 2)), None, read)
            assert (metrics.scale(ltv, X, S) >= np.abs(ltv.scan(X, S)[0]) * (1 - 1e-12)).all()


@pytest.mark.parametrize("name", ["gla", "deltanet", "mlstm", "softmax", "gru", "s4d"])
def test_end_to_end_ratios_do_not_depend_on_luck_in_the_projections(name):
    """q = u W may cancel: the scale of the recurrence alone is then too small, not the error."""
    worst = 0.0
    for seed in range(12):
        mech = dsf.family(name).init(d=2, n=2, p=2, seed=seed)
        u = np.random.default_rng(seed).standard_normal((6, 2))
        reference = mech.map(to_longdouble)(to_longdouble(u))
        scale, gate = metrics.end_to_end(mech, u)
        worst = max(worst, metrics.ratio(mech(u), reference, scale) / gate)
    assert worst < 0.2
