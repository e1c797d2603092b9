"""How the solution moves when the data are scaled, rotated, shifted, or made larger."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dsf.solvers import attention_svm
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.instances import draw
from dsf.theory_tests import judge

statement = (
    "X -> X U and z -> z V with orthogonal U, V give W -> U' W V at the same norm; z -> c z gives "
    "W/c; adding one vector to all tokens of a sample changes nothing; a further token or sample "
    "never lowers the norm, and one without a multiplier may be left out."
)
reference = "derived for the attention-SVM of tarzanagh2023"
falsified_by = "data whose rotated, scaled or shifted copy has a solution that does not correspond"


def claim(seed: int = 0, norm: str = "frobenius", c: float = 3.0) -> list:
    """Rotated, scaled and shifted data against the transformed solution."""
    i = draw(seed, 3, 4, 5)
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((5, 5)))[0] for _ in range(2))
    s = attention_svm(i.X, i.z, i.optimal, norm=norm)
    if s.W is None:
        return [s.certificate]
    turned = attention_svm(i.X @ U, i.z @ V, i.optimal, norm=norm)
    scaled = attention_svm(i.X, c * i.z, i.optimal, norm=norm)
    shifted = attention_svm(i.X + rng.standard_normal((3, 1, 5)), i.z, i.optimal, norm=norm)
    exact = norm == "frobenius"
    near = (1e-9 if exact else 1e-7) * s.value
    out = [
        (turned.value, s.value, near),
        (c * scaled.value, s.value, near),
        (shifted.value, s.value, near * (1.0 if exact else 10.0)),
        (shifted.problem.matrix(), s.problem.matrix(), 1e-13),  # the same rows
        turned.certificate,
        scaled.certificate,
    ]
    if exact:  # the nuclear solution need not be unique
        out += [(turned.W, U.T @ s.W @ V, near), (c * scaled.W, s.W, near)]
    return out


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_frobenius(seed, c):
    judgement = judge(claim(seed, "frobenius", c))
    assert judgement.holds, "\n".join(judgement.lines)


@pytest.mark.solver
@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_nuclear(seed):
    judgement = judge(claim(seed, "nuclear"))
    assert judgement.holds, "\n".join(judgement.lines)


@given(st.integers(0, 10**6))
def test_more_constraints_never_lower_the_norm(seed):
    i = draw(seed, 3, 4, 5)
    s = attention_svm(i.X, i.z, i.optimal)
    fewer = attention_svm(i.X[:2], i.z[:2], i.optimal[:2])
    assert 1.0 / fewer.upper <= s.value or s.feasible is False


@given(st.integers(0, 10**6))
def test_a_further_token_never_lowers_the_norm(seed):
    i = draw(seed, 3, 4, 5)
    s = attention_svm(i.X, i.z, i.optimal)
    extra = np.random.default_rng(seed).standard_normal((3, 1, 5))
    more = attention_svm(np.concatenate([i.X, extra], axis=1), i.z, i.optimal)
    assert more.feasible is False or (s.feasible and 1.0 / s.upper <= more.value)


@given(st.integers(0, 10**6))
def test_a_row_without_a_multiplier_may_be_left_out(seed):
    i = draw(seed, 3, 4, 5)
    s = attention_svm(i.X, i.z, i.optimal)
    if s.W is None:
        return

    rest = solve(s.problem.rows(s.multipliers > 1e-9 * s.multipliers.max()))
    assert rest.W is not None
    assert np.allclose(rest.W, s.W, atol=1e-8 * s.value)
