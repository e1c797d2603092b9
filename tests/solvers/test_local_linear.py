"""Local linear attention: reference numbers, the forms, their properties, sizes, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsf.solvers as solve
from dsf.core.errors import (
    DomainError,
    DTypeError,
    IllConditionedError,
    NonFiniteError,
    OverflowingScanError,
    ShapeError,
    UnknownNameError,
)
from dsf.core.ops import softmax
from dsf.solvers.local_linear.attention import FORMS, penalties, seen_logits
from dsf.solvers.local_linear.conjugate_gradients import descend
from dsf.solvers.local_linear.forms import smoother_weights
from dsf.solvers.local_linear.recurrence import ridge_in_batch

Q, K, V = np.random.default_rng(0).standard_normal((3, 12, 4))
SEEDS, SIZES = st.integers(0, 10**6), st.integers(1, 9)
LLA, CG = solve.local_linear_attention, solve.local_linear_attention_cg

# row 11 of the causal output at scale 1/2, from an implementation of its own
KNOWN = {
    0.1: (0.09423491, 0.07369078, 0.61114444, -0.45973838),
    1.0: (0.08210078, 0.24210558, 0.17978368, -0.15724517),
    10.0: (0.12122813, 0.31543118, -0.07178513, 0.02133854),
    1e12: (0.13100581, 0.32622350, -0.11777361, 0.05379427),  # softmax attention
}


def draw(n, d, p, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((n, d)), rng.standard_normal((n, p))


def slow(q, k, v, ridge, scale, causal, ridge_times):
    """The definition, row by row: a weighted least squares problem with an intercept."""
    out = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        n, d = i + 1 if causal else len(k), k.shape[1]
        w = np.exp(scale * k[:n] @ q[i])
        c = w.sum() if ridge_times == "weights" else 1.0
        root = np.sqrt(w)[:, None]
        A = np.block(
            [[root, root * (k[:n] - q[i])], [np.zeros((d, 1)), np.sqrt(c * ridge) * np.eye(d)]]
        )
        out[i] = np.linalg.lstsq(A, np.concatenate([root * v[:n], np.zeros((d, v.shape[1]))]))[0][0]
    return out


# ------------------------------------------------------------------ reference numbers
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ridge", KNOWN)
def test_known_values(ridge, form):
    np.testing.assert_allclose(LLA(Q, K, V, ridge=ridge, form=form)[11], KNOWN[ridge], atol=6e-9)


def test_known_values_of_the_second_instance():
    rng = np.random.default_rng(0)
    q, k, v, G = (rng.standard_normal((7, n)) for n in (3, 3, 2, 2))
    o = LLA(q, k, v, ridge=0.7)
    np.testing.assert_allclose(o[6], (0.61671505, -0.16698070), atol=6e-9)
    assert np.sum(G * o) == pytest.approx(6.027022869013773, abs=1e-12)


# ------------------------------------------------------------------------- the forms
@pytest.mark.parametrize("ridge_times", ["weights", "one"])
@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=25)
@given(SIZES, st.integers(1, 4), SEEDS, st.floats(0.05, 20), st.floats(0, 2))
def test_the_forms_are_the_definition(causal, ridge_times, n, d, seed, ridge, scale):
    q, k, v = draw(n, d, 2, seed)
    told = {"ridge": ridge, "scale": scale, "causal": causal, "ridge_times": ridge_times}
    expected = slow(q, k, v, ridge, scale, causal, ridge_times)
    for form in FORMS:
        np.testing.assert_allclose(LLA(q, k, v, form=form, **told), expected, atol=1e-10)
    s = CG(q, k, v, tile=1 + seed % 4, tolerance=1e-12, **told)
    np.testing.assert_allclose(s.output, expected, atol=1e-9)
    found = solve.parallax(q, k, v, s.direction, scale=scale, causal=causal)
    np.testing.assert_allclose(found, s.output, atol=1e-12)


@settings(max_examples=25)
@given(SIZES, st.integers(1, 4), SEEDS)
def test_parallax_reads_like_its_formula(n, d, seed):
    q, k, v = draw(n, d, 2, seed)
    r = np.random.default_rng(seed + 1).standard_normal((n, d))
    p = softmax(q @ k.T / np.sqrt(d), np.tri(n, dtype=bool))
    kb, vb = p @ k, p @ v
    slow_one = np.array([vb[i] - r[i] @ ((k - kb[i]).T * p[i]) @ (v - vb[i]) for i in range(n)])
    np.testing.assert_allclose(solve.parallax(q, k, v, r), slow_one, atol=1e-12)


# ------------------------------------------------------------------------ properties
@settings(max_examples=25)
@given(SIZES, st.integers(1, 4), SEEDS, st.floats(0.05, 20))
def test_weights_sum_to_one_and_are_the_map(n, d, seed, ridge):
    q, k, v = draw(n, d, 2, seed)
    x, seen = seen_logits(q, k, 1.0, True)
    s = smoother_weights(softmax(x, seen), penalties(x, seen, ridge, "weights"), q, k)
    np.testing.assert_allclose(s.sum(1), 1, atol=1e-10)
    np.testing.assert_allclose(LLA(q, k, v, ridge=ridge, scale=1.0), s @ v, atol=1e-10)


@settings(max_examples=25)
@given(SIZES, st.integers(1, 4), SEEDS)
def test_translation_and_orthogonal_maps(n, d, seed):
    q, k, v = draw(n, d, 2, seed)
    rng = np.random.default_rng(seed + 1)
    w, c = rng.random((n, n)) + 0.1, rng.standard_normal(d)
    one = np.ones((n, 1))
    for form in FORMS.values():  # with the weights held, only k_j - q_i counts
        np.testing.assert_allclose(form(w, one, q + c, k + c, v), form(w, one, q, k, v), atol=1e-10)
    U = np.linalg.qr(rng.standard_normal((d, d)))[0]
    np.testing.assert_allclose(LLA(q @ U, k @ U, v), LLA(q, k, v), atol=1e-10)


def test_weights_may_be_negative():
    x, seen = seen_logits(Q, K, 0.5, True)
    ridge = penalties(x, seen, 0.1, "weights")
    assert smoother_weights(softmax(x, seen), ridge, Q, K).min() < -0.1


def test_the_first_token_is_its_value():
    np.testing.assert_allclose(LLA(Q, K, V, ridge=0.3)[0], V[0], atol=1e-14)


# ------------------------------------------------------------------ torch and gradients
def test_torch_gives_the_same_and_its_gradient_is_a_difference_quotient():
    torch = pytest.importorskip("torch")
    given_ones = [torch.tensor(x[:5], requires_grad=True) for x in (Q, K, V)]
    G = np.random.default_rng(2).standard_normal((5, 4))
    for form in FORMS:
        o = LLA(*given_ones, ridge=0.7, form=form)
        np.testing.assert_allclose(
            o.detach().numpy(), LLA(Q[:5], K[:5], V[:5], ridge=0.7), atol=1e-12
        )
        grads = torch.autograd.grad((o * torch.tensor(G)).sum(), given_ones)
        for place in range(3):
            D = np.random.default_rng(place).standard_normal((5, 4))

            def moved(t, place=place, D=D):
                xs = [x[:5] + (t * D if i == place else 0) for i, x in enumerate((Q, K, V))]
                return np.sum(G * LLA(*xs, ridge=0.7))

            slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
            assert np.sum(grads[place].numpy() * D) == pytest.approx(slope, abs=1e-8)


def test_float32_stays_float32():
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(x, dtype=torch.float32) for x in (Q, K, V))
    for o in (LLA(q, k, v), solve.parallax(q, k, v, 0.1 * q)):
        assert o.dtype == torch.float32
    np.testing.assert_allclose(LLA(q, k, v).numpy(), LLA(Q, K, V), atol=1e-5)


# ------------------------------------------------------------------ conjugate gradients
def test_at_most_d_iterations():
    s = CG(Q, K, V, ridge=0.1)
    assert s.iterations <= 4 and not s.direct.any()
    assert s.residual.max() < 1e-12
    np.testing.assert_allclose(s.error_bound, s.residual / 0.1)


def test_rows_that_do_not_hold_are_solved_directly():
    s = CG(Q, K, V, ridge=0.1, iterations=2)
    assert s.direct.any() and not s.direct.all()
    np.testing.assert_allclose(s.output, LLA(Q, K, V, ridge=0.1), atol=1e-9)


def test_keys_of_very_different_sizes_are_solved_directly():
    k = K * 10.0 ** np.array([0, 1, 2, 3])  # condition 1e7: more steps than dimensions
    told = {"ridge": 1e-1, "scale": 0.0, "causal": False}
    s = CG(Q, k, V, tolerance=1e-9, iterations=4, **told)
    assert s.direct.all()
    np.testing.assert_allclose(s.output, LLA(Q, k, V, **told), atol=1e-6)


@pytest.mark.parametrize("tile", [1, 256])
def test_a_row_that_cannot_be_certified_is_an_error(tile):
    with pytest.raises(IllConditionedError, match=r"query \d has .* also when solved directly"):
        CG(Q, K, V, ridge=0.1, tolerance=0, tile=tile)
    with pytest.raises(IllConditionedError, match=r"ridge of query 0 is 0\.01, lost beside"):
        CG(Q, 1e8 * K, V, ridge=1e-2, scale=0.0, tile=tile)


def test_a_residual_of_zero_is_not_believed_where_the_ridge_is_lost():
    """ridge / e^{1640} is 0: conjugate gradients find a residual of 0 and an output of -21166."""
    k = np.array([[40.0, 1.0], [40.0, -1.0], [40.0, 0.0], [41.0, 0.5]])
    told = {"scale": 1.0, "ridge_times": "one", "causal": False}
    with pytest.raises(IllConditionedError, match="lost beside"):
        CG([[40.0, 0.0]], k, k, **told)


def test_no_step_gives_the_start():
    assert not descend(lambda x: x, np.ones((1, 2)), np.zeros(1), 0)[0].any()


# ----------------------------------------------------------- ridge regression token by token
@pytest.mark.parametrize("ridge_forgets", [True, False])
@settings(max_examples=25)
@given(SIZES, st.integers(1, 4), SEEDS, st.floats(0.1, 10), st.floats(0.3, 1.0))
def test_the_recurrence_is_the_batch(ridge_forgets, n, d, seed, ridge, least):
    q, k, v = draw(n, d, 2, seed)
    gates = np.random.default_rng(seed + 1).uniform(least, 1, n)
    told = {"ridge": ridge, "gates": gates, "ridge_forgets": ridge_forgets}
    expected = ridge_in_batch(q, k, v, **told)
    found = solve.ridge_recurrence(q, k, v, **told)
    np.testing.assert_allclose(found, expected, atol=1e-8 * max(1, np.abs(expected).max()))


def test_both_forms_of_mesa_differ_with_gates_only():
    both = [{"ridge": 0.5, "ridge_forgets": f} for f in (True, False)]
    a, b = (solve.ridge_recurrence(Q, K, V, **told) for told in both)
    np.testing.assert_allclose(a, b, atol=1e-12)
    gates = np.full(12, 0.8)
    a, b = (solve.ridge_recurrence(Q, K, V, gates=gates, **told) for told in both)
    assert np.abs(a - b).max() > 0.1


# -------------------------------------------------------------------------- smallest sizes
def test_smallest_sizes():
    none, one = np.zeros((0, 2)), np.ones((1, 1))
    assert LLA(none, none, np.zeros((0, 3))).shape == (0, 3)
    assert CG(none, none, np.zeros((0, 3))).output.shape == (0, 3)
    assert solve.parallax(none, none, none, none).shape == (0, 2)
    assert solve.ridge_recurrence(none, none, np.zeros((0, 3)), ridge=1).shape == (0, 3)
    assert LLA(Q, K, V[:, :0]).shape == (12, 0)
    for form in FORMS:
        assert LLA(one, 2 * one, 3 * one, form=form) == 3
    assert CG(one, 2 * one, 3 * one).output == 3


# -------------------------------------------------------------------------------- bad input
NAN = np.where(np.arange(12)[:, None] == 5, np.nan, Q)
BAD = {
    "nan": (lambda: LLA(NAN, K, V), NonFiniteError, r"`q` must be finite; entry \(5, 0\)"),
    "words": (lambda: LLA([["a"]], K, V), DTypeError, "real numbers"),
    "a vector": (lambda: LLA(Q[0], K, V), ShapeError, "2 axes"),
    "another d": (lambda: LLA(Q[:, :3], K, V), ShapeError, r"\[n d\], \[T d\]"),
    "fewer values": (lambda: LLA(Q, K, V[:3]), ShapeError, r"\[T p\]"),
    "no d": (lambda: LLA(Q[:, :0], K[:, :0], V), ShapeError, "d >= 1"),
    "causal, fewer queries": (lambda: LLA(Q[:3], K, V), ShapeError, "as many queries as keys"),
    "no keys": (lambda: LLA(Q, K[:0], V[:0], causal=False), ShapeError, "at least one key"),
    "a negative ridge": (lambda: LLA(Q, K, V, ridge=-1), DomainError, "at least 0"),
    "a nan ridge": (lambda: LLA(Q, K, V, ridge=float("nan")), DomainError, "finite"),
    "a ridge of words": (lambda: LLA(Q, K, V, ridge="a"), DTypeError, "a number"),
    "a kind of ridge": (lambda: LLA(Q, K, V, ridge_times="two"), UnknownNameError, "weights, one"),
    "a form": (lambda: LLA(Q, K, V, form="four"), UnknownNameError, "known: weights"),
    "no ridge, few keys": (lambda: LLA(Q, K, V, ridge=0), IllConditionedError, "of query 0"),
    "equal keys": (
        lambda: LLA(Q, K[[0] * 12], V, ridge=0, causal=False), IllConditionedError, "in a plane",
    ),
    "infinite logits": (lambda: LLA(1e200 * Q, 1e200 * K, V), OverflowingScanError, "a logit"),
    "large weights, plain ridge": (
        lambda: LLA(Q, Q, V, scale=1e3, ridge_times="one"), IllConditionedError, "times='one'",
    ),
    "small weights, plain ridge": (
        lambda: LLA(Q, -Q, V, scale=1e3, ridge_times="one"), OverflowingScanError, "times='one'",
    ),
    "huge keys": (lambda: LLA(Q, 1e160 * K, V, scale=0), IllConditionedError, "0 overflows|1 over"),
    "cg, huge keys": (lambda: CG(Q, 1e160 * K, V, scale=0), IllConditionedError, "0 is 10, lost"),
    "parallax, huge keys": (
        lambda: solve.parallax(Q, 1e300 * K, V, 1e300 * Q, scale=0), OverflowingScanError,
        "the output left the range",
    ),
    "cg without ridge": (lambda: CG(Q, K, V, ridge=0), DomainError, "above 0"),
    "cg, half a step": (lambda: CG(Q, K, V, iterations=0.5), DTypeError, "an integer"),
    "cg, no tile": (lambda: CG(Q, K, V, tile=0), DomainError, "at least 1"),
    "a direction": (lambda: solve.parallax(Q, K, V, Q[:3]), ShapeError, "must have the shape"),
    "gates": (
        lambda: solve.ridge_recurrence(Q, K, V, ridge=1, gates=np.zeros(12)), DomainError, "0, 1",
    ),
    "gates of another length": (
        lambda: solve.ridge_recurrence(Q, K, V, ridge=1, gates=[1.0]), ShapeError, r"gates \[1\]",
    ),
    "a recurrence without ridge": (
        lambda: solve.ridge_recurrence(Q, K, V, ridge=0), DomainError, "above 0",
    ),
    "a forgotten ridge": (
        lambda: solve.ridge_recurrence(
            *np.ones((3, 400, 2)), ridge=1.0, gates=np.full(400, 0.1)
        ),
        IllConditionedError, "forgotten the ridge",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    call, error, message = BAD[what]
    with pytest.raises(error, match=message):
        call()


def test_bad_tensors():
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(x) for x in (Q, K, V))
    with pytest.raises(DTypeError, match="all torch tensors or all arrays"):
        LLA(q, K, V)
    with pytest.raises(DTypeError, match=r"one dtype; got torch.float32, torch.float64"):
        LLA(q.float(), k, v)
    with pytest.raises(DTypeError, match="real floats"):
        LLA(q.int(), k, v)
    with pytest.raises(ShapeError, match="2 axes"):
        LLA(q[0], k, v)
    with pytest.raises(NonFiniteError, match="`k` must be finite"):
        LLA(q, k / 0, v)
    with pytest.raises(DTypeError, match="numpy arrays"):
        CG(q, k, v)


def test_huge_logits_are_the_nearest_key():
    """Weights of one key alone: the slope is penalised away, the output is its value."""
    o = LLA(1e3 * K, 1e3 * K, V, scale=1.0)
    best = np.array([np.argmax((K @ K[i])[: i + 1]) for i in range(12)])
    np.testing.assert_allclose(o, V[best], atol=1e-6)
