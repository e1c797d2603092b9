"""Bad input to systems and single functions: overflow, ties, defective matrices, giants, shapes."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import dsf
from dsf.core import metrics, ops
from dsf.core.errors import (
    DomainError,
    DSFError,
    DTypeError,
    IllConditionedError,
    NonFiniteError,
    NotContractive,
    OverflowingScanError,
    ShapeError,
    TimeVaryingError,
    TooLargeError,
    UnknownNameError,
)
from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag, LowRank, Shift
from dsf.testing.structure import to_longdouble


def constant(a, L, dtype=np.float64):
    """h_t = a h_{t-1} + x_t, y_t = h_t, for L steps."""
    one = np.ones((1, 1, 1), dtype=dtype)
    return LTV(Diag(a=np.full((1, 1), a, dtype=dtype)), one, one, steps=L)


# -------------------------------------------------------------------- 13: instability
@pytest.mark.parametrize(
    "a, dtype, step, product",
    [
        (2.0, np.float64, 1024, 1024),
        (1.01, np.float64, 70870, 71333),
        (2.0, np.float32, 128, 128),
        (1.01, np.float32, 8454, 8917),
        pytest.param(1.001, np.float64, 703227, 710138, marks=pytest.mark.slow),
    ],
)
def test_instability_names_the_step(a, dtype, step, product):
    """With input 1 the state after step t is (a^t - 1)/(a - 1): the first t above the range."""
    ltv, X = constant(a, 1_000_000, dtype), np.ones((1_000_000, 1, 1), dtype=dtype)
    with pytest.raises(OverflowingScanError) as e:
        ltv.scan(X)
    text = str(e.value)
    assert f"in step {step} of 1000000 (index {step - 1})" in text
    assert f"overflows after {product} steps" in text
    assert np.dtype(dtype).name in text
    assert np.isfinite(constant(a, step - 1, dtype).scan(X[: step - 1])[0]).all()


def test_instability_in_chunks_and_in_torch():
    one = torch.ones((1, 1, 1), dtype=torch.float64)
    ltv = LTV(Diag(a=torch.full((1, 1), 2.0, dtype=torch.float64)), one, one, steps=2000)
    X = torch.ones((2000, 1, 1), dtype=torch.float64)
    for run in (ltv.scan, lambda X: ltv.chunk(X, 100)):
        with pytest.raises(OverflowingScanError, match=r"step 1024 of 2000 \(index 1023\)"):
            run(X)


def test_an_overflowing_output_is_an_error_too():
    ltv = LTV(Diag(a=np.ones((1, 1))), np.ones((1, 1, 1)), np.full((1, 1, 1), 1e200), steps=3)
    with pytest.raises(
        OverflowingScanError, match="the output left the range of float64 in step 2"
    ):
        ltv.scan(np.array([1e100, 1e150, 1.0]).reshape(3, 1, 1))


def test_infinite_coefficients_are_not_an_overflow():
    ltv = LTV(Diag(a=np.array([[1.0], [np.inf], [1.0]])), np.ones((1, 1, 1)), np.ones((1, 1, 1)))
    assert ltv.scan(np.ones((3, 1, 1)))[0].ravel().tolist() == [1, np.inf, np.inf]


def test_a_chunk_whose_products_overflow_falls_back_to_steps():
    """The state is 0 throughout, although the product of transitions is not finite."""
    ltv = constant(1e200, 4)
    assert ltv.chunk(np.zeros((4, 1, 1)), 4)[0].ravel().tolist() == [0] * 4


# ------------------------------------------------------------------ 7, 8, 11: numbers
def test_softmax_ties_masks_and_infinities():
    assert ops.softmax(np.array([[3.0, 3.0, 3.0, 3.0]])).tolist() == [[0.25] * 4]
    assert ops.softmax(np.array([1e4, -1e4])).tolist() == [1, 0]
    assert ops.softmax(np.full((2, 3), -np.inf)).tolist() == [[0, 0, 0]] * 2
    assert ops.softmax(np.ones((1, 2)), np.zeros((1, 2), dtype=bool)).tolist() == [[0, 0]]
    for x in (np.array([0, np.inf]), torch.tensor([0, torch.inf])):
        with pytest.raises(DomainError, match=r"\+inf"):
            ops.softmax(x)
    same = np.tile([[1.0, -2.0]], (4, 1)) * 1e3
    equal = np.tril(np.ones((4, 4)) / np.arange(1, 5)[:, None])
    assert np.array_equal(dsf.softmax.init(d=2, n=2, p=2).kernel(same)[0], equal)


@pytest.mark.parametrize("as_array", [np.asarray, torch.as_tensor])
def test_an_overflowing_logit_is_an_error_not_a_zero_weight(as_array):
    mech = dsf.softmax.init(d=1, n=1, p=1).map(np.abs)
    with pytest.raises(OverflowingScanError, match="a logit left the range"):
        mech(as_array(np.array([[-1e200], [1e200]])))  # q k = -1e400 for the first key


@pytest.mark.parametrize("as_array", [np.asarray, torch.as_tensor])
def test_a_logit_that_no_query_may_see_may_overflow(as_array):
    """The query of token 0 and the key of token 1 are 1e200; causality keeps them apart."""
    mech = dsf.softmax.init(d=2, n=1, p=2)
    select = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]]), np.eye(2)
    mech = replace(mech, **dict(zip(("Wq", "Wk", "Wv"), (x[None] for x in select), strict=True)))
    u = np.diag([1e200, 1e200])
    y = np.asarray(mech.map(as_array)(as_array(u)))
    assert np.array_equal(y, [u[0], (u[0] + u[1]) / 2])  # all logits that are seen are 0
    with pytest.raises(OverflowingScanError, match="a logit left the range"):
        mech.map(as_array)(as_array(u[::-1].copy()))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_modules_compute_in_float32(kind):
    module = dsf.softmax.init(d=2).to_torch().to(kind)
    u = (100 * torch.ones(4, 2)).to(kind)
    y, state = module.run(u)
    assert y.dtype == kind and state.tail.k.dtype == torch.float32
    assert torch.equal(y, module.float()(u.float()).to(kind))  # rounded once


def test_complex_systems_take_complex_input():
    mech, u = dsf.lru.init(d=2, n=3), np.random.default_rng(0).standard_normal((5, 2, 1))
    ltv = mech.ltv(u[..., 0])
    assert np.allclose(ltv.scan(1j * u)[0], 1j * ltv.scan(u)[0])


def test_constants_of_the_equations_are_not_rounded_to_the_dtype_of_u():
    """float32 input, float64 parameters: pi and sqrt(n) must be float64 too."""
    u = np.round(4 * np.random.default_rng(0).standard_normal((4, 2)))
    for family in (dsf.mamba3, dsf.gla, dsf.mlstm, dsf.softmax):
        mech = family.init(d=2, n=2, p=2)
        assert np.array_equal(mech(u.astype(np.float32)), mech(u))


def test_softplus_and_norms_do_not_overflow_in_torch():
    x = torch.tensor([-800.0, 0.0, 800.0, 1e300], dtype=torch.float64)
    assert np.allclose(ops.softplus(x), ops.softplus(x.numpy()), rtol=1e-15)
    v = torch.tensor([[3e-200, 4e-200], [3e200, 4e200], [0, 0]], dtype=torch.float64)
    assert np.allclose(ops.l2norm(v).ravel(), [5e-200, 5e200, 0], rtol=1e-15, atol=0)
    v.requires_grad_()
    ops.l2norm(v).sum().backward()
    assert np.allclose(v.grad, [[0.6, 0.8], [0.6, 0.8], [0, 0]], rtol=1e-15)


def test_integers_never_overflow_in_a_scan():
    X = np.full((3, 1, 1), 2**62)
    assert constant(1.0, 3).scan(X)[0].ravel().tolist() == [2.0**62, 2.0**63, 3 * 2.0**62]
    with pytest.raises(DTypeError, match="must hold numbers"):
        constant(1.0, 3).scan(X > 0)


def test_the_float_mode_of_the_processor_is_untouched():
    assert np.float64(5e-324) * 1 > 0
    assert torch.tensor(5e-324, dtype=torch.float64).mul(1).item() > 0


# -------------------------------------------------------------- 15: gates, 17: delta rule
def test_a_closed_gate_does_not_clear_nan():
    """0 NaN is NaN: documented, and the reason for not using a gate as a reset of bad states."""
    ltv, X = constant(0.0, 3), np.ones((3, 1, 1))
    assert np.isnan(ltv.scan(X, np.full((1, 1), np.nan))[0]).all()
    assert ltv.scan(X, np.full((1, 1), 1e300))[0].ravel().tolist() == [1, 1, 1]


@pytest.mark.parametrize("size, eigenvalue", [(3.0, "-3.5"), (4.0, "-7")])
def test_expanding_delta_rules_warn_with_the_eigenvalue(size, eigenvalue):
    """beta = 1/2: the eigenvalue along k is 1 - |k|^2 / 2, below -1 from |k| = 2 on."""
    one, zero = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    mech = dsf.deltanet.cls(Wq=one, Wk=one, Wv=one, Wb=zero, unit_keys=False)
    with pytest.warns(NotContractive, match=f"transition is {eigenvalue}, below -1"):
        mech(np.array([[size]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mech(np.array([[2.0]]))


# ------------------------------------------------------- 18: defective, 24: too large
def test_jordan_blocks_are_scanned_and_not_diagonalised():
    n = 4
    A = 0.9 * np.eye(n) + np.eye(n, k=1)
    ltv = LTV(Dense(A[None]), np.ones((1, n, 1)), np.ones((1, 1, n)), steps=30)
    X = np.random.default_rng(0).standard_normal((30, 1, 1))
    exact = ltv.map(to_longdouble).scan(to_longdouble(X))[0]
    assert metrics.ratio(ltv.scan(X)[0], exact, metrics.scale(ltv, X)) <= metrics.gate(30)
    with pytest.raises(IllConditionedError, match="condition number"):
        ltv.diagonalise()
    near = LTV(Dense((A + np.diag(1e-6 * np.arange(n)))[None]), ltv.B, ltv.C, steps=30)
    with pytest.raises(IllConditionedError, match="Jordan"):
        near.diagonalise()


@pytest.mark.parametrize(("dtype", "half"), [(np.float64, 26), (np.float32, 11.5)])
def test_half_of_the_digits_may_be_lost_and_no_more(dtype, half):
    """[[1, 1], [0, 1 - d]] has the eigenvectors (1, 0) and (1, -d), of condition about 2/d."""

    def jordan_but_for(d):
        A = np.array([[[1, 1], [0, 1 - d]]], dtype=dtype)
        return LTV(Dense(A), np.ones((1, 2, 1), dtype), np.ones((1, 1, 2), dtype), steps=8)

    near = 2.0 ** -int(half - 2)
    diagonal, condition = jordan_but_for(near).diagonalise()
    assert condition == pytest.approx(2 / near, rel=1e-3)
    lost = condition * np.finfo(dtype).eps
    assert np.allclose(diagonal.kernel(), jordan_but_for(near).kernel(), rtol=10 * lost, atol=0)
    with pytest.raises(IllConditionedError, match="more than half of the digits"):
        jordan_but_for(2.0 ** -int(half + 2)).diagonalise()


def test_complex_pairs_on_the_unit_circle():
    c, s = np.cos(0.3), np.sin(0.3)
    rotation = Dense(np.array([[[c, -s], [s, c]]]))
    ltv = LTV(rotation, np.ones((1, 2, 1)), np.ones((1, 1, 2)), steps=50)
    diagonal, condition = ltv.diagonalise()
    assert condition < 1 + 1e-12
    assert np.allclose(np.abs(diagonal.A.a), 1, rtol=1e-14)
    assert np.allclose(diagonal.kernel(), ltv.kernel(), rtol=0, atol=1e-13)
    with pytest.raises(TimeVaryingError, match="varies over time"):
        LTV(Dense(np.ones((3, 2, 2))), ltv.B, ltv.C).diagonalise()


def test_giants_are_refused_with_their_size():
    constants = np.ones((1, 2000, 1)), np.ones((1, 1, 2000))
    varying = LTV(Diag(a=np.ones((100, 2000))), *constants)
    with pytest.raises(TooLargeError, match=r"\[100 2000 2000\] takes 3,200,000,000 bytes \(3\.0"):
        varying.dense()
    assert LTV(Diag(a=np.ones((1, 2000))), *constants, steps=10**6).dense().A.A.shape[0] == 1
    with pytest.raises(TooLargeError, match="the limit is 1,000"):
        constant(0.5, 3).dense(limit=1000) and varying.part(0, 1).dense(limit=1000)
    long = constant(0.5, 10**6)
    for dense_request in (long.kernel, lambda: long.hankel(5)):
        with pytest.raises(TooLargeError, match=r"\[1000000 1000000\] takes 8,000,000,000,000"):
            dense_request()
    with pytest.raises(TooLargeError, match="attention weights"):
        dsf.softmax.init(d=1).ltv(np.zeros((40_000, 1)))


# ---------------------------------------------------------------- 12: shapes and names
def low_rank(n, w):
    return LowRank(Diag(a=np.ones((1, 1))), np.ones((1, n, 1)), np.ones((1, w, 1)))


ONES = {k: np.ones(k) for k in [(1, 2, 1), (1, 1, 2), (1, 1, 3), (1, 2, 2), (3, 1, 1), (1, 1, 1)]}


@pytest.mark.parametrize(
    "A, B, C, D, words",
    [
        (Diag(a=np.ones((1, 3))), (1, 2, 1), (1, 1, 2), None, "A acts on 3 states"),
        (Diag(a=np.ones((1, 2))), (1, 2, 1), (1, 1, 3), None, "C [1, 1, 3] must be [... r n]"),
        (Shift(2), (1, 2, 1), (1, 1, 2), (1, 2, 2), "D [1, 2, 2] must be [... r m]"),
        (low_rank(2, 3), (1, 2, 1), (1, 1, 2), None, "do not fit"),
        (Diag(a=np.ones((4, 1))), (3, 1, 1), (1, 1, 1), None, "lengths [3, 4]"),
    ],
)
def test_coefficients_that_do_not_fit(A, B, C, D, words):
    ltv = LTV(A, ONES[B], ONES[C], None if D is None else ONES[D])
    with pytest.raises(ShapeError) as e:
        ltv.scan(np.ones((3, 1, 1)))
    assert words in str(e.value)
    with pytest.raises(ShapeError):
        ltv.kernel()


def test_input_and_state_of_another_system():
    ltv = constant(0.5, 3)
    for X in (np.ones((4, 1, 1)), np.ones((3, 2, 1)), np.ones(3)):
        if X.shape != (4, 1, 1):  # a constant system takes any length
            with pytest.raises(ShapeError, match=r"X must be \[\.\.\. L m p\] with L = 3, m = 1"):
                ltv.scan(X)
    with pytest.raises(ShapeError, match=r"the state must be \[\.\.\. n p\] with n = 1, p = 1"):
        ltv.scan(np.ones((3, 1, 1)), np.ones((2, 1)))
    with pytest.raises(ShapeError, match="size must be at least 1"):
        ltv.chunk(np.ones((3, 1, 1)), 0)
    with pytest.raises(ShapeError, match="start < stop"):
        ltv.element(2, 2)


def test_states_of_another_mechanism():
    u = np.ones((3, 2))
    states = {f: f.init(d=2).run(u)[1] for f in (dsf.gla, dsf.softmax, dsf.mamba3, dsf.gru)}
    for family, other in [
        (dsf.gla, dsf.softmax),
        (dsf.softmax, dsf.gla),
        (dsf.gru, dsf.softmax),
        (dsf.gla, dsf.mamba3),
        (dsf.softmax, dsf.mamba3),
    ]:
        with pytest.raises(ShapeError, match="state of another mechanism"):
            family.init(d=2).run(u, states[other])
    with pytest.raises(DTypeError, match="`state` must be what `run` returned; got ndarray"):
        dsf.gla.init(d=2).run(u, np.ones((2, 2)))


def test_a_zero_normaliser_is_an_error():
    mech = dsf.linear_attn(normalise=True).init(d=2)
    with pytest.raises(DomainError, match="normaliser is exactly 0"):
        mech(np.zeros((3, 2)))
    small = dsf.normalised_attn.init(d=1).map(np.abs)
    with pytest.raises(DomainError, match="eta = exp"):
        small(np.array([[-1e6]]))


def test_a_square_input_is_taken_as_given():
    """L = d cannot be told from swapped axes: documented in `enter`, first axis is time."""
    mech, u = dsf.gla.init(d=3), np.arange(9.0).reshape(3, 3)
    assert not np.allclose(mech(u), mech(u.T))


def test_parameters_that_diverged_are_named():
    mech = dsf.gla.init(d=2)
    mech.Wk[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"the parameter Wk \[1 2 2\] holds NaN"):
        mech(np.ones((3, 2)))


def test_numpy_input_with_torch_parameters_is_refused():
    with pytest.raises(DTypeError, match=r"torch\.as_tensor"):
        dsf.gla.init(d=2).map(torch.as_tensor)(np.ones((3, 2)))


@pytest.mark.parametrize(
    "name, error, words",
    [
        ("gla(phi=exp)", UnknownNameError, "gla: no option 'phi'; options: none"),
        ("gla(Wq=1)", UnknownNameError, "no option 'Wq'"),
        ("rwkv6(read=sideways)", UnknownNameError, "read must be one of"),
        ("linear_attn(phi=relu)", UnknownNameError, "phi must be one of"),
        ("window_softmax(width=0)", DomainError, "width must be an integer of at least 1; got 0"),
        ("deltaproduct(steps=0)", DomainError, "steps must be an integer of at least 1"),
        ("glaa", UnknownNameError, "Did you mean gla"),
    ],
)
def test_names_and_options(name, error, words):
    with pytest.raises(error) as e:
        dsf.family(name)
    assert words in str(e.value)


def test_sizes_of_init():
    with pytest.raises(ShapeError, match="at least 1"):
        dsf.gla.init(d=0)
    with pytest.raises(ShapeError, match="n must be even"):
        dsf.retnet(rotation=True).init(d=2, n=3)


def test_scan_of_strided_input_has_the_bits_of_the_copy():
    ltv, X = dsf.gla.init(d=3, n=4, p=5).system_on(np.random.default_rng(0).standard_normal((9, 3)))
    wide = np.zeros((*X.shape[:-1], 10))[..., ::-2]
    wide[:] = X
    for Y, Z in ((ltv.scan(wide), ltv.scan(X)), (ltv.chunk(wide, 4), ltv.chunk(X, 4))):
        assert np.array_equal(Y[0], Z[0])


def test_every_error_is_typed_and_derives_from_a_builtin():
    for error in vars(dsf.errors).values():
        if isinstance(error, type) and issubclass(error, DSFError) and error is not DSFError:
            builtin = [b for b in error.__bases__ if b is not DSFError]
            assert builtin
            assert all(issubclass(b, Exception) for b in builtin)


def test_an_input_given_to_a_family_says_what_to_do():
    with pytest.raises(DTypeError, match=r"dsf\.gla\.init\(d=3\)\(u\)"):
        dsf.gla(np.ones((5, 3)))
