"""The linear time-varying system: evaluations, coordinates, monoid, algebra, LTI agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.signal import dlsim

import dsf
from dsf.core import metrics
from dsf.core.errors import ShapeError
from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag, Erase, LowRank, Prod, Shift
from dsf.testing.structure import apply_kernel, single_steps, to_longdouble

KINDS = ("scalar", "diagonal", "log", "complex", "low rank", "erase", "dense", "shift")


@st.composite
def systems(draw, kinds=KINDS, lengths=tuple(range(10))):
    """(ltv, X, S0): any transition, read, feed-through, batch, and broadcast time axes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    L, n, p = draw(st.sampled_from(lengths)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
    m, r = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lead = draw(st.sampled_from([(), (2,)]))
    kind = draw(st.sampled_from(kinds))

    def array(*shape, time=True):
        steps = (L,) if not time or draw(st.booleans()) else (1,)
        return rng.standard_normal((*lead, *steps, *shape))

    A = {
        "scalar": lambda: Diag(a=np.tanh(array(1)), size=n),
        "diagonal": lambda: Diag(a=np.tanh(array(n))),
        "log": lambda: Diag(log_a=Prod((-np.abs(array(1)), rng.random(n)))),
        "complex": lambda: Diag(log_a=-np.abs(array(n)) + 1j * array(n)),
        "low rank": lambda: LowRank(Diag(a=np.tanh(array(n))), array(n, 1) / n, array(n, 1) / n),
        "erase": lambda: Erase(Diag(a=np.tanh(array(n))), array(n, 1) / n, array(1, 1)),
        "dense": lambda: Dense(array(n, n) / n),
        "shift": lambda: Shift(n),
    }[kind]()
    D = array(r, m) if draw(st.booleans()) else None
    read = draw(st.sampled_from(["after", "before"]))
    ltv = LTV(A, array(n, m), array(r, n), D, read, steps=L)
    X, S = array(m, p, time=False), rng.standard_normal((*lead, n, p))
    return ltv, X, S


def assert_same_map(ltv, X, Y, S=None, other=None):
    """Y against the longdouble recurrence of ltv, within the gate."""
    exact = ltv.map(to_longdouble).scan(to_longdouble(X), None if S is None else to_longdouble(S))
    scale = metrics.scale(other or ltv, X, S)
    assert metrics.ratio(Y, exact[0], scale) <= metrics.gate(metrics.effective_length(ltv))


# ------------------------------------------------------------------------ evaluations
@pytest.mark.smoke
@given(systems())
def test_five_evaluations_agree(case):
    ltv, X, _ = case
    assert_same_map(ltv, X, ltv.scan(X)[0])
    if not ltv.length:
        return
    assert_same_map(ltv, X, apply_kernel(ltv, X))
    assert_same_map(ltv, X, single_steps(ltv, X))
    assert_same_map(ltv, X, ltv.chunk(X, 3)[0])
    T = ltv.map(torch.as_tensor)
    assert_same_map(ltv, X, np.asarray(T.scan(torch.as_tensor(X))[0]))
    M = np.asarray(T.kernel())
    assert np.allclose(M, ltv.kernel(), rtol=1e-12, atol=1e-13 * np.abs(M).max(initial=1))


@given(systems(), st.integers(0, 9))
def test_a_state_continues_a_sequence(case, cut):
    ltv, X, S = case
    cut = min(cut, ltv.length)
    whole, last = ltv.scan(X, S)
    head, middle = ltv.part(0, cut).scan(X[..., :cut, :, :], S)
    tail, end = ltv.part(cut, ltv.length).scan(X[..., cut:, :, :], middle)
    assert np.array_equal(np.concatenate([head, tail], -3), whole)
    assert np.array_equal(end, last)
    assert_same_map(ltv, X, whole, S)
    assert_same_map(ltv, X, ltv.chunk(X, 4, S)[0], S)


@given(systems(), st.floats(-3, 3))
def test_the_map_is_linear(case, c):
    ltv, X, S = case
    Z = np.flip(X, -1) * 2 + 1
    mixed = ltv.scan(c * X + Z, S)[0]
    parts = c * ltv.scan(X)[0] + ltv.scan(Z, S)[0]
    scale = abs(c) * metrics.scale(ltv, X) + metrics.scale(ltv, Z, S)
    assert metrics.ratio(mixed, parts, scale) <= metrics.gate(ltv.length)


@given(systems(), st.integers(0, 8), st.integers(1, 5))
def test_the_map_is_causal(case, j, size):
    ltv, X, _ = case
    assume(j < ltv.length)
    Z = X.copy()
    Z[..., j:, :, :] += 1
    assert np.array_equal(ltv.scan(Z)[0][..., :j, :, :], ltv.scan(X)[0][..., :j, :, :])
    K, L = np.asarray(ltv.kernel()), ltv.length
    M = K.reshape(*ltv.batch, L * ltv.r, L * ltv.m)
    assert not M[..., : j * ltv.r, j * ltv.m :].any()


def test_a_constant_system_runs_at_any_length():
    one = np.ones((1, 1, 1))
    X = np.arange(1.0, 8).reshape(7, 1, 1)
    for steps in (None, 1, 3):
        ltv = LTV(Diag(a=one[0] / 2), one, one, steps=steps)
        for size in (1, 2, 7, 9):
            assert np.allclose(ltv.chunk(X, size)[0], ltv.scan(X)[0], rtol=1e-15)


# --------------------------------------------------------------------- coordinates
@given(systems(kinds=("scalar", "diagonal", "log", "low rank", "erase", "dense", "shift")))
def test_coordinates_change_neither_kernel_nor_hankel_singular_values(case):
    ltv, X, _ = case
    assume(ltv.length)
    rng = np.random.default_rng(0)
    T = np.linalg.qr(rng.standard_normal((ltv.length, ltv.n, ltv.n)))[0]
    turned = ltv.gauge(T)
    assert_same_map(ltv, X, turned.scan(X)[0], other=_normwise(ltv))
    size = np.abs(ltv.kernel()).max(initial=0) + metrics.scale(_normwise(ltv), X).max(initial=0)
    assert np.abs(turned.kernel() - ltv.kernel()).max(initial=0) <= 1e-13 * (1 + size)
    for before, after in zip(
        ltv.hankel_singular_values(), turned.hankel_singular_values(), strict=True
    ):
        assert np.abs(before - after).max(initial=0) <= 1e-13 * (1 + size)


def _normwise(ltv):
    return LTV(ltv.dense().A, ltv.B, ltv.C, ltv.D, ltv.read, ltv.length)


def test_eigenvalues_do_depend_on_the_coordinates():
    ltv = dsf.gla.init(d=3, n=2, p=1).ltv(np.random.default_rng(0).standard_normal((4, 3)))
    T = np.linspace(1, 2, 4)[:, None, None] * np.eye(2)
    assert not np.allclose(np.sort(ltv.gauge(T).eigenvalues()), np.sort(ltv.eigenvalues()))


@given(systems())
def test_eigenvalues_and_growth_against_dense_matrices(case):
    ltv, _, _ = case
    assume(ltv.length)
    shape = (*ltv.batch, ltv.length, ltv.n, ltv.n)
    A = np.broadcast_to(ltv.dense().A.A, shape)
    w, expected = np.broadcast_to(ltv.eigenvalues(), shape[:-1]), np.linalg.eigvals(A)
    for power in (1, 2, 3):  # traces of powers: a symmetric function, so no matching is needed
        assert np.allclose((w**power).sum(-1), (expected**power).sum(-1), atol=1e-10)
    product, found = np.eye(ltv.n), np.broadcast_to(ltv.growth(), shape[:-2])
    for t in range(ltv.length):
        product = A[..., t, :, :] @ product
        norm = np.linalg.norm(product, 2, axis=(-2, -1))
        assert np.allclose(np.exp(found[..., t]), norm, rtol=1e-10, atol=1e-14)


def test_growth_does_not_overflow():
    one = np.ones((1, 1, 1))
    ltv = LTV(Diag(a=one[0] * 10), one, one, steps=400)
    assert np.allclose(ltv.growth()[-1], 400 * np.log(10), rtol=1e-14)
    ltv = LTV(Shift(3), np.ones((1, 3, 1)), np.ones((1, 1, 3)), steps=4)
    assert ltv.growth().tolist() == [0, 0, -np.inf, -np.inf]


# ------------------------------------------------------------------- monoid, coarsening
@given(systems(lengths=range(3, 10)), st.integers(1, 8), st.integers(1, 8))
def test_elements_compose_associatively(case, i, j):
    ltv, X, S = case
    i, j = sorted((min(i, ltv.length - 1), min(j, ltv.length - 1)))
    assume(0 < i < j)
    L = ltv.length
    pieces = [ltv.element(a, b, X[..., a:b, :, :]) for a, b in ((0, i), (i, j), (j, L))]
    left = pieces[0].then(pieces[1]).then(pieces[2])
    right = pieces[0].then(pieces[1].then(pieces[2]))
    last = ltv.scan(X, S)[1]
    size = metrics.scale(LTV(ltv.A, ltv.B, np.eye(ltv.n)[None], None, "after", L), X, S)
    size = size[..., -1, :, :].max() * np.ones(last.shape)
    for e in (left, right, ltv.element(0, L, X)):
        assert metrics.ratio(e.A.apply(S) + e.b, last, size) <= metrics.gate(L) * ltv.n


@given(systems(lengths=range(1, 7)))
def test_an_element_without_input_is_the_reachability_map(case):
    ltv, X, _ = case
    L = ltv.length
    R = ltv.element(0, L).b
    stacked = X.reshape(*X.shape[:-3], L * ltv.m, X.shape[-1])
    assert np.allclose(R @ stacked, ltv.scan(X)[1], rtol=1e-10, atol=1e-10)


@given(systems(lengths=[6]), st.sampled_from([1, 2, 3, 6]))
def test_coarsening_reads_every_sth_step(case, s):
    ltv, X, S = case
    if ltv.read == "before" and s > 1:
        with pytest.raises(ShapeError, match="read='after'"):
            ltv.coarsen(s)
        return
    coarse = ltv.coarsen(s)
    Y = coarse.scan(X.reshape(*X.shape[:-3], 6 // s, s * ltv.m, X.shape[-1]), S)[0]
    want, scale = ltv.scan(X, S)[0], metrics.scale(ltv, X, S).max(initial=0)
    assert coarse.length == 6 // s
    assert np.abs(Y - want[..., s - 1 :: s, :, :]).max() <= 1e-12 * (1 + scale) * 10**ltv.n


# ----------------------------------------------------------------------------- algebra
def pair(seed, read, r=2):
    rng = np.random.default_rng(seed)
    a = LTV(
        Diag(a=rng.uniform(-1, 1, (5, 2))), *rng.standard_normal((2, 5, 2, 2)),
        rng.standard_normal((5, 2, 2)), read,
    )  # fmt: skip
    b = LTV(
        Dense(rng.standard_normal((1, 3, 3)) / 3), rng.standard_normal((5, 3, 2)),
        rng.standard_normal((1, r, 3)), rng.standard_normal((1, r, 2)), read, 5,
    )  # fmt: skip
    return a, b


@given(seed=st.integers(0, 2**32), read=st.sampled_from(["after", "before"]))
def test_sums_and_chains_are_sums_and_products_of_kernels(seed, read):
    a, b = pair(seed, read)
    assert np.allclose((a + b).kernel(), a.kernel() + b.kernel(), rtol=1e-11, atol=1e-12)
    _, b = pair(seed, read, r=3)
    product = np.einsum("irkm,kmjl->irjl", b.kernel(), a.kernel())
    assert np.allclose(a.then(b).kernel(), product, rtol=1e-11, atol=1e-11)


def test_systems_that_do_not_fit_are_refused():
    a, b = pair(0, "after", r=3)
    for join in (lambda: a + b, lambda: b.then(a), lambda: a + pair(0, "before")[0]):
        with pytest.raises(ShapeError, match="do not fit"):
            join()


# ------------------------------------------------------------------------ time-invariant
@given(seed=st.integers(0, 2**32), n=st.integers(1, 4), m=st.integers(1, 3), r=st.integers(1, 3))
def test_a_constant_system_agrees_with_scipy(seed, n, m, r):
    """scipy and control read before the update: x_{k+1} = A x_k + B u_k, y_k = C x_k + D u_k."""
    rng = np.random.default_rng(seed)
    A, B = rng.standard_normal((n, n)) / n, rng.standard_normal((n, m))
    C, D, u = rng.standard_normal((r, n)), rng.standard_normal((r, m)), rng.standard_normal((12, m))
    ltv = LTV(Dense(A[None]), B[None], C[None], D[None], read="before", steps=12)
    y = ltv.scan(u[..., None])[0][..., 0]
    scale = metrics.scale(ltv, u[..., None])[..., 0]
    assert metrics.ratio(y, dlsim((A, B, C, D, 1), u)[1], scale) <= metrics.gate(12)
    control = pytest.importorskip("control")
    out = control.forced_response(control.ss(A, B, C, D, 1), inputs=u.T, squeeze=False).outputs
    assert metrics.ratio(y, out.T, scale) <= metrics.gate(12)
    # the same map in the convention "after": C A and D + C B
    assert np.allclose(
        LTV(Dense(A[None]), B[None], C[None], None, "after", 12).kernel(),
        LTV(Dense(A[None]), B[None], (C @ A)[None], (C @ B)[None], "before", 12).kernel(),
        rtol=1e-12, atol=1e-12,
    )  # fmt: skip


def test_hankel_blocks():
    ltv = dsf.gla.init(d=3, n=2, p=1).ltv(np.random.default_rng(0).standard_normal((6, 3)))
    M = ltv.kernel()
    for k in range(7):
        assert np.array_equal(ltv.hankel(k), M[..., k:, :k])
    sigma = ltv.hankel_singular_values(3)
    assert (sigma[..., 2:] <= 1e-14 * sigma[..., :1]).all()  # two states carry the past
    with pytest.raises(ShapeError, match=r"0\.\.6"):
        ltv.hankel(7)


def test_dense_writes_out_every_coefficient():
    a = dsf.gated_deltanet.init(d=3, n=2, p=1).ltv(np.ones((4, 3)))
    full = a.dense()
    assert type(full.A) is Dense
    assert full.A.A.shape == (1, 4, 2, 2)
    assert np.allclose(full.kernel(), a.kernel(), rtol=1e-14)
