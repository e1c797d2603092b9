"""Local linear attention, Parallax and Mesa: the regressions that they are, and their limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsf
import dsf.solvers as solve
from dsf.core.errors import IllConditionedError
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.mechanisms.local.fit import direction
from dsf.solvers.local_linear.attention import FORMS
from dsf.solvers.local_linear.recurrence import ridge_in_batch

SEEDS, LENGTHS, WIDTHS = st.integers(0, 10**6), st.integers(0, 9), st.integers(1, 4)
NAMES = ["lla", "lla(ridge_times=one)", "parallax", "mesa", "mesa(ridge_forgets=True)"]


def tokens(L, n, p, seed, **more):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((L, m)) for m in (n, n, p))
    return Tokens(q=q, k=k, v=v, **more)


def outputs(family, tok):
    return family.without_parameters().advance(tok, State())[0][:, 0]


# ------------------------------------------------------------------ local linear attention
@settings(max_examples=40)
@given(LENGTHS, WIDTHS, SEEDS, st.floats(0.05, 20), st.sampled_from(["weights", "one"]))
def test_every_form_of_the_fit_is_the_mechanism(L, n, seed, ridge, ridge_times):
    tok = tokens(L, n, 2, seed, ridge=np.array([[ridge]]))
    y = outputs(dsf.lla(ridge_times=ridge_times), tok)
    told = {"ridge": ridge, "ridge_times": ridge_times}
    for form in FORMS:
        found = solve.local_linear_attention(tok.q, tok.k, tok.v, form=form, **told)
        np.testing.assert_allclose(y, found, atol=1e-10)
    np.testing.assert_allclose(y[:1], tok.v[:1], atol=1e-13)  # the first token is its value


def test_the_reference_numbers_of_another_implementation():
    q, k, v = np.random.default_rng(0).standard_normal((3, 12, 4))
    known = {
        0.1: (0.09423491, 0.07369078, 0.61114444, -0.45973838),
        1.0: (0.08210078, 0.24210558, 0.17978368, -0.15724517),
        10.0: (0.12122813, 0.31543118, -0.07178513, 0.02133854),
    }
    for ridge, row in known.items():
        y = outputs(dsf.lla, Tokens(q=q, k=k, v=v, ridge=np.array([[ridge]])))
        np.testing.assert_allclose(y[11], row, atol=6e-9)


def test_the_ridge_of_the_code_and_of_the_paper_differ():
    tok = tokens(6, 2, 2, 0, ridge=np.array([[1.0]]))
    both = [outputs(dsf.lla(ridge_times=c), tok) for c in ("weights", "one")]
    assert np.abs(both[0] - both[1]).max() > 0.01
    np.testing.assert_allclose(both[0][0], both[1][0], atol=1e-14)


@pytest.mark.parametrize("family", [dsf.lla, dsf.lla(ridge_times="one")], ids=str)
def test_a_large_ridge_is_softmax_attention(family):
    tok = tokens(8, 3, 2, 1)
    soft = outputs(dsf.softmax, tok)
    off = [
        np.abs(outputs(family, tok.replace(ridge=np.array([[r]]))) - soft).max() for r in (1e4, 1e6)
    ]
    assert off[0] < 1e-3 and 80 < off[0] / off[1] < 120  # of first order in 1 / ridge


# ------------------------------------------------------------------ Parallax
@settings(max_examples=40)
@given(LENGTHS, WIDTHS, SEEDS)
def test_parallax_is_the_solver_and_softmax_where_the_direction_is_zero(L, n, seed):
    r = np.random.default_rng(seed + 1).standard_normal((L, n))
    tok = tokens(L, n, 2, seed)
    y = outputs(dsf.parallax, tok.replace(r=r))
    np.testing.assert_allclose(y, solve.parallax(tok.q, tok.k, tok.v, r), atol=1e-12)
    zero = outputs(dsf.parallax, tok.replace(r=0 * r))
    np.testing.assert_allclose(zero, outputs(dsf.softmax, tok), atol=1e-14)


@settings(max_examples=40)
@given(LENGTHS, WIDTHS, SEEDS, st.floats(0.05, 20))
def test_parallax_along_the_solved_direction_is_local_linear_attention(L, n, seed, ridge):
    tok = tokens(L, n, 2, seed)
    lam = np.array([[ridge]])
    p = dsf.softmax.without_parameters().weights(tok, L)[0]
    found = outputs(dsf.parallax, tok.replace(r=direction(p, lam, tok.q, tok.k)))
    np.testing.assert_allclose(found, outputs(dsf.lla, tok.replace(ridge=lam)), atol=1e-12)


# ------------------------------------------------------------------ Mesa
@settings(max_examples=40)
@given(LENGTHS, WIDTHS, SEEDS, st.floats(0.1, 10), st.floats(0.3, 1), st.booleans())
def test_mesa_is_ridge_regression_on_the_past(L, n, seed, ridge, least, forgets):
    gates = np.random.default_rng(seed + 1).uniform(least, 1, L)
    tok = tokens(L, n, 2, seed, ridge=np.array([[ridge]]), log_g=np.log(gates)[:, None])
    told = {"ridge": ridge, "gates": gates, "ridge_forgets": forgets}
    y = outputs(dsf.mesa(ridge_forgets=forgets), tok)
    batch = ridge_in_batch(tok.q, tok.k, tok.v, **told)
    np.testing.assert_allclose(y, batch, atol=1e-8 * max(1, np.abs(batch).max(initial=0)))
    again = solve.ridge_recurrence(tok.q, tok.k, tok.v, **told)  # of one kind another algorithm
    np.testing.assert_allclose(y, again, atol=1e-8 * max(1, np.abs(batch).max(initial=0)))


def test_both_ridges_of_mesa_are_one_without_gates_alone():
    u = np.random.default_rng(0).standard_normal((7, 3))
    plain = dsf.mesa.init(d=3, n=2, p=2, heads=2)
    forgets = dsf.mesa(ridge_forgets=True).cls(**plain.parameters(), ridge_forgets=True)
    assert np.abs(plain(u) - forgets(u)).max() > 1e-3
    open_gates = [replace(m, bg=m.bg + 40, Wg=0 * m.Wg) for m in (plain, forgets)]
    ungated = dsf.mesa(gated=False).cls(
        **{k: v for k, v in plain.parameters().items() if k not in ("Wg", "bg")}, gated=False
    )
    for mech in open_gates:
        np.testing.assert_allclose(mech(u), ungated(u), atol=1e-12)


def test_given_the_keys_mesa_is_linear_in_the_values():
    """Its kernel times the values is its output, and the ridge is in the rows of the kernel."""
    mech, u = dsf.mesa.init(d=3, n=2, p=2), np.random.default_rng(0).standard_normal((6, 3))
    np.testing.assert_allclose(mech.kernel(u)[0] @ (u @ mech.Wv)[0], mech(u), atol=1e-13)
    assert mech.ltv(u).n == 2


def test_rescaled_mesa_with_a_large_ridge_is_linear_attention():
    tok = tokens(8, 3, 2, 1)
    lin = outputs(dsf.linear_attn, tok)
    for lam in (1e4, 1e6):
        y = outputs(dsf.mesa(gated=False), tok.replace(ridge=np.array([[lam]]), q=lam * tok.q))
        assert np.abs(y - lin).max() < 1e3 / lam


# ------------------------------------------------------------------ all
@pytest.mark.smoke
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("L", [0, 1])
def test_smallest_sizes(name, L):
    mech = dsf.family(name).init(d=1, n=1, p=1)
    assert mech(np.ones((L, 1))).shape == (L, 1)
    if L and not name.startswith("mesa"):
        np.testing.assert_allclose(mech(np.ones((1, 1))), mech.Wv[0], atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_trains(name):
    """Steps of gradient descent on the layer of torch lower a squared error, ridge included."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = dsf.family(name).to_torch(d=4, heads=2, seed=0)
    u, target = torch.randn(2, 8, 4), torch.randn(2, 8, 4)
    optimiser, losses = torch.optim.Adam(layer.parameters(), lr=0.03), []
    for _ in range(30):
        optimiser.zero_grad()
        loss = ((layer(u) - target) ** 2).mean()
        loss.backward()
        assert all(bool(x.grad.abs().max() > 0) for x in layer.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["lla", "mesa"])
def test_a_lost_ridge_is_an_error_that_names_the_mechanism(name):
    mech = dsf.family(name).init(d=2, n=2, p=1)
    mech = replace(mech, log_ridge=mech.log_ridge - 60)
    with pytest.raises(IllConditionedError, match=rf"^{name}: solve: the matrix at \(0, \d\)"):
        mech(np.random.default_rng(0).standard_normal((3, 2)))


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_later_nan_reaches_no_earlier_row(name):
    mech, u = dsf.family(name).init(d=3, n=2, p=2), np.ones((5, 3))
    u[1:] += np.random.default_rng(0).standard_normal((4, 3))
    clean = mech(u)
    u[3, 0] = np.nan
    np.testing.assert_allclose(mech(u)[:3], clean[:3], atol=1e-13)
    assert np.isnan(mech(u)[3:]).all()
