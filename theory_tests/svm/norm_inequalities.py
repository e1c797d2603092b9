"""The Frobenius and the nuclear solution, measured in each other's norm."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.solvers import attention_svm
from dsf.solvers.svm.instances import draw
from dsf.theory_tests import judge

statement = (
    "|W|_F <= |W*|_F, |W*|_* <= |W|_*, and |W|_F <= |W*|_* <= sqrt(rank W) |W|_F for the Frobenius "
    "solution W and a nuclear solution W*."
)
reference = "derived; norms of matrices of rank r"
falsified_by = "an instance that violates one of the inequalities beyond the certified gaps"


def claim(seed: int = 1, n: int = 3, T: int = 4, d: int = 5) -> list:
    """Each inequality as the positive part of its violation, which theory puts at 0."""
    i = draw(seed, n, T, d)
    s = attention_svm(i.X, i.z, i.optimal)
    if s.W is None:
        return [s.certificate]
    t = attention_svm(i.X, i.z, i.optimal, norm="nuclear")
    r = int(np.linalg.matrix_rank(s.W, tol=1e-9 * s.value))
    nuclear_of_s = float(np.linalg.svd(s.W, compute_uv=False).sum())
    pairs = [
        (s.value, float(np.linalg.norm(t.W))),
        (t.value, nuclear_of_s),
        (s.value, t.value),
        (t.value, np.sqrt(r) * s.value),
    ]
    slack = (s.gap + t.gap + 1e-12) * t.value
    broken = [max(small - large, 0.0) for small, large in pairs]
    return [(np.array(broken), np.zeros(4), slack), s.certificate, t.certificate]


@pytest.mark.solver
@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 4), st.integers(2, 6))
def test_inequalities(seed, n, T, d):
    judgement = judge(claim(seed, n, T, d))
    assert judgement.holds, "\n".join(judgement.lines)
