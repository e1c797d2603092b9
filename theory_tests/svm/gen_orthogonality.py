"""Gen-SVM: the finite part and the direction are orthogonal."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.solvers import attention_svm, gen_svm
from dsf.theory_tests import judge

statement = (
    "The finite part of Gen-SVM lies in the span of the equalities and the direction is orthogonal "
    "to it, so <W_fin, W_mm> = 0 and C = <W, W_mm>/|W_mm|^2; with one kept token per sample the "
    "direction is the attention-SVM and W_fin = 0."
)
reference = "tarzanagh2023, Gen-SVM (nonlinear heads)"
falsified_by = "data with a non-zero inner product of the two parts"


def claim(seed: int = 0, n: int = 3, T: int = 4, d: int = 6) -> list:
    """Orthogonality, the equalities of both parts, and the coefficient of a combination."""
    rng = np.random.default_rng(seed)
    X, z = rng.standard_normal((n, T, d)), rng.standard_normal((n, d))
    kept = np.zeros((n, T), dtype=bool)
    for i in range(n):
        kept[i, rng.permutation(T)[: rng.integers(1, T)]] = True
    logs = np.where(kept, rng.standard_normal((n, T)), -40.0)
    g = gen_svm(X, z, logs, kept)
    if g.direction.W is None:
        return [(float(g.direction.feasible is False), 1.0, 0.0), g.direction.certificate]
    W, F = g.direction.W, g.finite.W
    ratios = [
        (X[i, t] - X[i, u]) @ M @ z[i] - b * (logs[i, t] - logs[i, u])
        for i in range(n)
        for t in np.flatnonzero(kept[i])
        for u in np.flatnonzero(kept[i])
        for M, b in ((W, 0.0), (F, 1.0))
    ]
    scale = g.direction.value * max(g.finite.value, 1.0)
    gaps = min(
        (X[i, t] - X[i, u]) @ W @ z[i]
        for i in range(n)
        for t in np.flatnonzero(kept[i])
        for u in np.flatnonzero(~kept[i])
    )
    out = [
        (float(np.sum(W * F)) / scale, 0.0, 1e-12),
        (np.array(ratios), np.zeros(len(ratios)), 1e-10 * scale),
        (min(gaps, 1.0), 1.0, 1e-10 * scale),
        (g.prediction(F + 5.0 * W), F + 5.0 * W, 1e-9 * scale),
        g.direction.certificate,
    ]
    return out if g.finite.certificate is None else [*out, g.finite.certificate]


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 5), st.integers(4, 7))
def test_orthogonality(seed, n, T, d):
    judgement = judge(claim(seed, n, T, d))
    assert judgement.holds, "\n".join(judgement.lines)


@given(st.integers(0, 10**6))
def test_one_kept_token_is_the_attention_svm(seed):
    rng = np.random.default_rng(seed)
    X, z, best = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 5)), rng.integers(0, 4, 3)
    logs = np.full((3, 4), -40.0)
    logs[np.arange(3), best] = 0.0
    g, s = gen_svm(X, z, logs), attention_svm(X, z, best)
    assert not g.finite.W.any() and g.finite.certificate is None
    assert np.allclose(g.direction.W, s.W, atol=1e-9 * s.value)
