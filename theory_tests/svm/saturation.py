"""Large weights leave almost no attention on other tokens; linear attention selects no token."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

import dsf
from dsf.solvers import attention_svm
from dsf.solvers.svm.instances import attention, draw
from dsf.theory_tests import judge
from dsf.theory_tests.run import run

statement = (
    "At W = c W_mm every chosen token has 1 - s <= (T - 1) e^{-c}, c = |W|/|W_mm|, so the readout "
    "tends to a copy of one past value.  The output of linear attention is c times the one at "
    "c = 1: its direction is the same for every c, so no c selects a token."
)
reference = "derived: each of the T - 1 margins is at least c"
falsified_by = "a data set with more attention left on other tokens than the bound"


def claim(seed: int = 0, T: int = 5, c: float = 10.0) -> list:
    """The bound at c W_mm, the copied value, and the normalised output of linear attention."""
    i = draw(seed, 4, T, 6)
    s = attention_svm(i.X, i.z, i.optimal)
    if s.W is None:
        return [s.certificate]
    rows = np.arange(len(i.X))
    weights = attention(c * s.W, i.X, i.z)
    others = np.arange(T) != i.optimal[:, None]
    left = np.sum(weights * others, axis=1)
    bound = (T - 1) * np.exp(-c * (1 - 1e-9))
    best = i.X[rows, i.optimal]
    out = np.array([read(dsf.softmax, c * s.W, x, q) for x, q in zip(i.X, i.z, strict=True)])
    linear, unit = (
        np.array([read(dsf.linear_attn, k * s.W, x, q) for x, q in zip(i.X, i.z, strict=True)])
        for k in (c, 1.0)
    )
    return [
        (np.maximum(left, bound), np.full(len(left), bound), 0.0),
        (np.maximum(np.linalg.norm(out - best, axis=1), 2 * bound), np.full(4, 2 * bound), 1e-12),
        (linear, c * unit, 1e-12 * c * np.abs(unit).max()),
    ]


def read(family, W: np.ndarray, X: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The last output of an attention family with scores x'W z and values X."""
    scale = np.sqrt(len(z)) if family is dsf.softmax else 1.0  # which divides by sqrt(d)
    return run(family, q=np.tile(scale * W @ z, (len(X), 1)), k=X, v=X)[-1]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 7), st.floats(1e-3, 700.0))
def test_bound(seed, T, c):
    judgement = judge(claim(seed, T, c))
    assert judgement.holds, "\n".join(judgement.lines)


def test_linear_attention_copies_no_token():
    """Its output stays off the direction of the chosen token: a mean cosine of 0.84."""
    cosines = []
    for seed in range(20):
        i = draw(seed, 4, 5, 6)
        W = attention_svm(i.X, i.z, i.optimal).W
        for x, q, best in zip(i.X, i.z, i.optimal, strict=True):
            for family in (dsf.softmax, dsf.linear_attn):
                out = read(family, 1e3 * W, x, q)
                cosines.append(out @ x[best] / np.linalg.norm(out) / np.linalg.norm(x[best]))
    softmax, linear = np.array(cosines).reshape(-1, 2).T
    assert softmax.min() > 1 - 1e-12
    assert np.mean(linear) < 0.9
