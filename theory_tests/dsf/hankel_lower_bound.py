"""A recurrence with n states differs from an operator by a Hankel singular value or more."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.states import hankel_gap, realize
from dsf.theory_tests import judge

statement = (
    "A recurrence with n states, whatever its gates depend on, differs from the operator M by at "
    "least max_k sigma_{n+1}(M[k:, :k]) in the operator 2-norm, and by at least the root of the "
    "sum of the squares of all later singular values in the Frobenius norm."
)
reference = "van der Veen and Dewilde; Eckart and Young on a submatrix (dewilde1998, ch. 5)"
falsified_by = "a causal system with n states that comes closer to M than the bound"


def claim(L: int = 24, n: int = 3, seed: int = 0, near: float = 1.0) -> list:
    """The certified bound, and how far random and fitted systems with n states violate it.

    near = 1: the system is balanced truncation, the best that is known; near = 0: random.
    """
    rng = np.random.default_rng(seed)
    lag = np.subtract.outer(np.arange(L), np.arange(L)).clip(0)
    M = np.tril(rng.standard_normal((L, L)) / (1 + lag))
    best = realize(M, states=n).system
    parts: list = [best.A.dense(), best.B, best.C, best.D]
    A, B, C, D = (near * x + rng.standard_normal(x.shape) * (1 - near) for x in parts)
    other = LTV(Dense(A), B, C, D, read="before", steps=L).kernel()
    tails = [np.linalg.svd(M[k:, :k], compute_uv=False)[best.n :] for k in range(1, L)]
    two = max(s[0] for s in tails if s.size) - np.linalg.norm(M - other, 2)
    frobenius = max(np.linalg.norm(s) for s in tails) - np.linalg.norm(M - other)
    return [
        hankel_gap(M, n),
        (np.maximum([two, frobenius], 0.0), np.zeros(2), 1e-12),
    ]


@given(st.integers(0, 10**6), st.integers(8, 24), st.integers(0, 3), st.floats(0, 1))
def test_no_system_beats_the_bound(seed, L, n, near):
    assert judge(claim(L, n, seed, near)).holds


def test_the_bound_is_nearly_reached():
    """Not vacuous: balanced truncation comes within a factor 2 of it here."""
    M = np.tril(np.ones((24, 24))) + np.tril(np.random.default_rng(0).standard_normal((24, 24)))
    for n in (1, 4, 8):
        found = realize(M, states=n)
        assert found.upper <= 2 * found.lower
