"""A pair of softmax heads with small +-omega is gradient descent on centred covariates."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.core.tokens import Tokens
from dsf.mechanisms.attention.softmax import Softmax
from dsf.solvers.icl.estimators import debiased_step, gradient_step, softmax_heads, softmax_layer
from dsf.solvers.icl.prompts import Prompts
from dsf.theory_tests.icl.linear_is_gradient_step import free, nonzero

statement = (
    "As omega -> 0, (softmax(omega s) - softmax(-omega s))_l / (2 omega) tends to "
    "(s_l - mean s)/L, so that heads +-omega with values +-eta/(2 omega) tend to one gradient "
    "step of size eta on centred covariates. Proved on the weights of the catalogue's softmax at "
    "L = 2, 3 with free tokens (d = 2); the error is O(omega^2), measured at L = 40."
)
reference = "he2025, debiased gradient descent; derived: the limit of the weights"
falsified_by = "a derivative at omega = 0 that is another expression, or a slope off 2"


def first_order(L: int) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the weights by omega at 0, and (s_l - mean s)/L, as expressions."""
    import sympy

    omega = sympy.Symbol("omega", real=True)
    x, q = free("x", L, 2), free("q", 2)
    tok = Tokens(
        q=(omega * sympy.sqrt(2) * q)[None], k=np.vstack([x, q]), v=np.vstack([x, q])[:, :1]
    )
    rows, _ = Softmax(include_self=False).weights(tok, 1)
    if rows[0, L] != 0:
        raise ArithmeticError("the query sees itself: include_self=False is not kept")
    slopes = np.array([w.diff(omega).subs(omega, 0) for w in rows[0, :L]], dtype=object)
    s = x @ q
    return slopes, (s - s.sum() / L) / L


def errors(omegas: np.ndarray, L: int = 40, eta: float = 0.897) -> np.ndarray:
    """Root mean square of the pair less the debiased step, over 200 prompts."""
    drawn = Prompts(5, L, 0.1).draw(0, 200)
    exact = debiased_step(drawn, eta)
    pairs = [softmax_heads(drawn, [w, -w], [eta / (2 * w), -eta / (2 * w)]) for w in omegas]
    return np.array([np.sqrt(np.mean((p - exact) ** 2)) for p in pairs])


def claim(L: int = 3):
    """Entries that differ as expressions, against 0; the measured order in omega, against 2."""
    slopes, theory = first_order(L)
    omegas = np.array([0.04, 0.02, 0.01])
    order = np.polyfit(np.log(omegas), np.log(errors(omegas)), 1)[0]
    return [(nonzero(slopes - theory), 0, 0), (order, 2.0, 0.02)]


@pytest.mark.parametrize("L", [2, 3])
def test_first_order_of_the_weights(L: int) -> None:
    slopes, theory = first_order(L)
    assert nonzero(slopes - theory) == 0
    assert nonzero(slopes - theory - (free("x", L, 2) @ free("q", 2)).sum() / L**2) == L


def test_the_error_is_of_second_order() -> None:
    computed, theory, tolerance = claim()[1]
    assert abs(computed - theory) <= tolerance


def test_one_head_is_of_first_order_in_the_mean() -> None:
    """A head alone keeps its weights' mean: it is mu times the mean of y, at omega = 0."""
    drawn = Prompts(5, 40, 0.1).draw(0, 50)
    alone = softmax_heads(drawn, [0.0], [2.0])
    np.testing.assert_allclose(alone, 2 * drawn.y.mean(-1), rtol=1e-12)


def test_the_heads_are_the_whole_layer() -> None:
    rng = np.random.default_rng(0)
    for d, L in ((1, 1), (2, 1), (3, 6)):
        drawn, mu = Prompts(d, L, 0.1).draw(rng, 3), rng.standard_normal(3)
        for omega in (rng.standard_normal(3), rng.standard_normal((3, d, d))):
            whole = softmax_layer(drawn, omega, mu)
            np.testing.assert_allclose(softmax_heads(drawn, omega, mu), whole, rtol=1e-11)


def test_a_shift_of_y_changes_the_plain_step_only() -> None:
    drawn = Prompts(5, 40, 0.1).draw(0, 50)
    other = drawn._replace(y=drawn.y + 7.0)
    np.testing.assert_allclose(debiased_step(drawn), debiased_step(other), rtol=1e-10, atol=1e-12)
    assert np.abs(gradient_step(drawn) - gradient_step(other)).max() > 1
    pair = [softmax_heads(x, [0.3, -0.3], [1.0, -1.0]) for x in (drawn, other)]
    np.testing.assert_allclose(pair[0], pair[1], rtol=1e-10, atol=1e-12)  # sum mu = 0
