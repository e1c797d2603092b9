"""Linear attention is one step of gradient descent: a symbolic identity on its recurrence."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import dsf
from dsf.core.tokens import Tokens
from dsf.solvers.icl.estimators import gradient_step, linear_layer, softmax_layer
from dsf.solvers.icl.prompts import Drawn, Prompts

statement = (
    "The step of linear attention with keys x and values y is S - dF/dS for F(S) = -y'S'x, and "
    "also for |y - S'x|^2/2 where S = 0; so after L examples its output at the query is L/eta "
    "times that of one gradient step of size eta from 0 on sum_l |y_l - W'x_l|^2 / (2L). From "
    "W_0, keys x, values y - W_0'x give the change of the prediction. Identities in free tokens, "
    "d = p = 2, L = 3."
)
reference = "vonoswald2022, proposition 1"
falsified_by = "an entry of a difference that is not zero as an expression"

D, P, L = 2, 2, 3


def free(name: str, *shape: int) -> np.ndarray:
    """An array of free symbols."""
    import sympy

    cells = [sympy.Symbol(f"{name}{''.join(map(str, i))}", real=True) for i in np.ndindex(shape)]
    return np.array(cells, dtype=object).reshape(shape)


def states(x: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The states of the catalogue's linear attention before and after each example, and the
    output at the query, which comes last with the value 0."""
    mech = dsf.linear_attn.without_parameters()
    tok = Tokens(q=np.array([q] * (L + 1)), k=np.vstack([x, q]), v=np.vstack([y, 0 * y[:1]]))
    ltv, X = mech.system(tok)
    found = [np.zeros((D, P), dtype=int).astype(object)]
    for t in range(L):
        found.append(ltv.part(t, t + 1).scan(X[t : t + 1], found[-1])[1])
    return found, ltv.scan(X)[0][-1, 0]


def nonzero(difference: Any) -> int:
    """How many entries are not zero as expressions."""
    import sympy

    return sum(sympy.expand(e) != 0 for e in np.ravel(np.asarray(difference, dtype=object)))


def descent(objective: Any, S: np.ndarray, at: np.ndarray) -> np.ndarray:
    """-dF/dS [D P] at a point, F an expression in the entries of S."""
    point = dict(zip(S.flat, at.flat, strict=True))
    cells = [-objective.diff(s).subs(point) for s in S.flat]
    return np.array(cells, dtype=object).reshape(S.shape)


def claim(online: bool = False):
    """How many entries differ: of every step (online) or of the output after all, against 0."""
    x, y, q, S = free("x", L, D), free("y", L, P), free("q", D), free("S", D, P)
    found, output = states(x, y, q)
    if online:
        steps = [b - a for a, b in pairwise(found)]
        linear = [descent(-(y[t] @ S.T @ x[t]), S, found[t]) for t in range(L)]
        zero = np.zeros_like(found[0])
        squares = [descent(((y[t] - S.T @ x[t]) ** 2).sum() / 2, S, zero) for t in range(L)]
        return nonzero(np.array(steps) - linear) + nonzero(np.array(steps) - squares), 0, 0
    whole = sum(((y[t] - S.T @ x[t]) ** 2).sum() for t in range(L)) / (2 * L)
    step = descent(whole, S, np.zeros_like(found[0]))
    return nonzero(output - L * (step.T @ q)), 0, 0


@pytest.mark.parametrize("online", [True, False])
def test_every_entry_agrees(online: bool) -> None:
    assert claim(online)[0] == 0


def test_a_squared_loss_at_another_state_is_another_step() -> None:
    """Online gradient descent on squares is the delta rule; linear attention agrees at 0 only."""
    x, y, q, S = free("x", L, D), free("y", L, P), free("q", D), free("S", D, P)
    found, _ = states(x, y, q)
    squares = descent(((y[1] - S.T @ x[1]) ** 2).sum() / 2, S, found[1])
    assert nonzero(found[2] - found[1] - squares) == D * P


def test_from_another_start() -> None:
    """Keys x and values y - W_0'x: the output is (L/eta) times the change of the prediction."""
    x, y, q, S, W = (free(n, *s) for n, s in zip("xyqSW", [(L, D), (L, P), (D,), (D, P), (D, P)],
                                                strict=True))  # fmt: skip
    _, output = states(x, y - x @ W, q)
    whole = sum(((y[t] - S.T @ x[t]) ** 2).sum() for t in range(L)) / (2 * L)
    assert nonzero(output - L * (descent(whole, S, W).T @ q)) == 0


def test_the_reference_prediction() -> None:
    rng = np.random.default_rng(0)
    X, w, query = rng.standard_normal((20, 4)), rng.standard_normal(4), rng.standard_normal(4)
    drawn = Drawn(X[None], (X @ w)[None], query[None], np.zeros(1))
    assert linear_layer(drawn, 0.7)[0] == pytest.approx(-2.1015983964, abs=1e-9)
    assert gradient_step(drawn, 0.7)[0] == pytest.approx(-2.1015983964, abs=1e-9)


@pytest.mark.parametrize(("d", "length"), [(1, 1), (2, 1), (3, 7)])
def test_the_layer_is_the_estimator(d: int, length: int) -> None:
    rng = np.random.default_rng(d)
    drawn, G = Prompts(d, length, 0.3).draw(rng, 5), rng.standard_normal((d, d))
    np.testing.assert_allclose(linear_layer(drawn, G), gradient_step(drawn, G), rtol=1e-12)


def test_the_layers_do_not_see_the_order_of_the_examples() -> None:
    drawn = Prompts(3, 6, 0.1).draw(0, 4)
    other = drawn._replace(X=drawn.X[:, ::-1], y=drawn.y[:, ::-1])
    for layer in (linear_layer, lambda x: softmax_layer(x, [0.4, -0.2], [1.0, 2.0])):
        np.testing.assert_allclose(layer(drawn), layer(other), rtol=1e-11)
