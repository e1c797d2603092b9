"""A finite window forgets completely; an invertible transition never does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import INVERTIBLE, WINDOW

statement = (
    "Attention over the last w tokens has M_{w-1,0} != 0 and M_{w,0} = 0. While one token is "
    "repeated, a scalar decay above 0 makes this impossible for w + 1 tokens, and n states with "
    "invertible transitions for w + n tokens, since n zeros in a row of c A^t d make it 0 "
    "everywhere."
)
reference = "dsf2026"
falsified_by = "Invertible A, with c A^t d = 0 for n consecutive t but not for all t."


def window_kernel(width: int, L: int) -> np.ndarray:
    x = np.arange(L) / L
    return run(dsf.window_softmax(width=width), q=x, k=x, v=np.eye(L))


def claim(width: int = 4) -> list:
    """The first column of the window's kernel, one of a decay, and the certificates."""
    L = width + 1
    column = window_kernel(width, L)[:, 0]
    decayed = run(dsf.retnet, q=np.ones(L), k=np.ones(L), v=np.eye(L), gamma=[0.5])[:, 0]
    window = dsf.window_softmax(width=width)
    return [
        (column[width], 0.0, 0.0),
        (float(column[width - 1] > 0), 1.0, 0.0),
        (decayed, 0.5 ** np.arange(L), 0.0),
        INVERTIBLE.certificate(dsf.retnet, window),
        WINDOW.certificate(window, dsf.retnet),
    ]


@pytest.mark.parametrize("width", [2, 3, 4, 7])
def test_the_claim_holds(width):
    assert judge(claim(width)).holds


@given(st.integers(1, 4), st.integers(0, 2**31))
def test_invertible_transitions_do_not_forget(n, seed):
    """An exact test: integers, so that a zero is a zero."""
    rng = np.random.default_rng(seed)
    A = np.tril(rng.integers(-3, 4, (n, n)), -1) + np.eye(n, dtype=int)  # determinant 1
    U = np.triu(rng.integers(-3, 4, (n, n)), 1) + np.eye(n, dtype=int)
    A, c, d = A @ U, rng.integers(-3, 4, n), rng.integers(-3, 4, n)
    s = [int(c @ np.linalg.matrix_power(A.astype(object), t) @ d) for t in range(2 * n + 2)]
    runs = [all(e == 0 for e in s[t : t + n]) for t in range(n + 3)]
    assert not any(runs) or all(e == 0 for e in s)


def test_a_singular_transition_can_forget():
    s = [int(np.linalg.matrix_power(np.eye(3, k=-1, dtype=int), t)[2, 0]) for t in range(6)]
    assert s == [0, 0, 1, 0, 0, 0]
