"""One sample: the matrix problem is a vector problem, and both norms agree."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.solvers import attention_svm, prompt_svm
from dsf.theory_tests import judge

statement = (
    "With n = 1 the solution is p z'/|z|^2, p the shortest vector with p'(x_opt - x_t) >= 1, in "
    "the Frobenius and the nuclear norm alike; with T = 2, W = delta z'/(|delta|^2 |z|^2) and "
    "|W| = 1/(|delta| |z|)."
)
reference = "derived for the attention-SVM of tarzanagh2023"
falsified_by = "one sample on which the two norms have different optimal values"


def claim(seed: int = 0, T: int = 4, d: int = 5, norm: str = "frobenius") -> list:
    """W against the vector problem, and against the closed form of its first two tokens."""
    rng = np.random.default_rng(seed)
    X, z = rng.standard_normal((1, T, d)), rng.standard_normal((1, d))
    s = attention_svm(X, z, [0], norm=norm)
    if s.W is None:
        return [s.certificate]
    p = prompt_svm(X, [0]).W
    near = (1e-10 if norm == "frobenius" else 3e-4) * s.value
    two = attention_svm(X[:, :2], z, [0], norm=norm)
    delta = X[0, 0] - X[0, 1]
    closed = np.outer(delta, z[0]) / (delta @ delta) / (z[0] @ z[0])
    return [
        (s.value, float(np.linalg.norm(p) / np.linalg.norm(z)), 1e-8 * s.value),
        (s.W, p @ z / (z[0] @ z[0]), near),
        (two.value, 1.0 / np.linalg.norm(delta) / np.linalg.norm(z), 1e-8 * two.value),
        (two.W, closed, 1e-4 * two.value if norm == "nuclear" else 1e-12 * two.value),
        s.certificate,
    ]


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 6))
def test_frobenius(seed, T, d):
    judgement = judge(claim(seed, T, d))
    assert judgement.holds, "\n".join(judgement.lines)


@pytest.mark.solver
@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 5))
def test_nuclear(seed, T, d):
    judgement = judge(claim(seed, T, d, "nuclear"))
    assert judgement.holds, "\n".join(judgement.lines)
