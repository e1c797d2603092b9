"""Systems in other libraries: values against their own evaluation."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf import interop
from dsf.core.errors import (
    DTypeError,
    MissingExtraError,
    ShapeError,
    TimeVaryingError,
    UnknownNameError,
)
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Dense, Diag, LowRank, Shift

TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def random_lti(seed, n, m, r, read, kind, length):
    """A constant system with D, of every transition kind, real or complex."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        x = rng.uniform(-1, 1, shape)
        return x + 1j * rng.uniform(-1, 1, shape) if kind == "complex" else x

    A = {
        "complex": lambda: Diag(a=0.9 * draw(1, n)),
        "scalar": lambda: Diag(a=0.9 * draw(1, 1), size=n),
        "dense": lambda: Dense(draw(1, n, n) / n),
        "low rank": lambda: LowRank(Diag(a=draw(1, n)), draw(1, n, 1) / 2, draw(1, n, 1) / 2),
        "shift": lambda: Shift(n),
    }[kind]()
    return LTV(A, draw(1, n, m), draw(1, r, n), draw(1, r, m), read, length)


KINDS = st.sampled_from(["complex", "scalar", "dense", "low rank", "shift"])
SIZE = st.integers(1, 4)


@given(st.integers(0, 10**6), SIZE, SIZE, SIZE, st.sampled_from(["after", "before"]), KINDS)
def test_scipy_simulates_the_same_outputs(seed, n, m, r, read, kind):
    from scipy.signal import dlsim

    L = 7
    ltv = random_lti(seed, n, m, r, read, kind, L)
    u = np.random.default_rng(seed + 1).standard_normal((L, m))
    _, y, _ = dlsim(interop.to_scipy(ltv), u)
    Y, _ = ltv.scan(u[:, :, None])
    np.testing.assert_allclose(y, Y[..., 0].real, **TIGHT)


@given(st.integers(0, 10**6), st.sampled_from(["after", "before"]))
def test_one_step_is_the_constant_system_of_that_step(seed, read):
    rng = np.random.default_rng(seed)
    L, n = 5, 3
    ltv = LTV(
        Diag(a=rng.uniform(0, 1, (L, n))), rng.normal(size=(L, n, 1)),
        rng.normal(size=(L, 1, n)), rng.normal(size=(1, 1, 1)), read,
    )  # fmt: skip
    at = int(rng.integers(-L, L))
    alone = ltv.part(at % L, at % L + 1)
    got, want = interop.to_scipy(ltv, at=at), interop.to_scipy(alone)
    for name in "ABCD":
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
def test_one_channel_of_s4d_in_scipy(discretisation):
    from scipy.signal import dlsim

    mech = dsf.s4d(discretisation=discretisation).init(d=3, n=4)
    u = np.random.default_rng(0).standard_normal((20, 3))
    for head in range(3):
        _, y, _ = dlsim(interop.to_scipy(mech.ltv(u), head=head), u[:, head])
        np.testing.assert_allclose(y[:, 0], mech(u)[:, head], **TIGHT)


def test_repeated_rows_count_as_constant():
    ltv = random_lti(0, 2, 1, 1, "after", "dense", 4)
    spelled_out = LTV(
        Dense(np.repeat(ltv.A.A, 4, 0)), np.repeat(ltv.B, 4, 0), ltv.C, ltv.D, "after"
    )
    np.testing.assert_array_equal(interop.to_scipy(spelled_out).A, interop.to_scipy(ltv).A)


@pytest.mark.parametrize(
    ("name", "varying"),
    [
        ("linear_attn", "B at step 1, C at step 1"),
        ("gla", "A at step 1, B at step 1, C at step 1"),
        ("rwkv6", "A at step 1, B at step 1, C at step 1, D at step 1"),
        ("softmax", "C at step 1"),
        ("deltanet", "A at step 1, B at step 1, C at step 1"),
    ],
)
def test_time_varying_systems_are_refused_by_letter(name, varying):
    u = np.random.default_rng(0).standard_normal((4, 3))
    ltv = dsf.family(name).init(d=3, n=2, p=2).ltv(u)
    with pytest.raises(TimeVaryingError, match=f"first change: {varying}\\)"):
        interop.to_scipy(ltv)
    assert interop.to_scipy(ltv, at=-1).A.shape == (ltv.n, ltv.n)


def test_the_refusal_names_only_what_varies():
    ltv = LTV(
        Diag(a=np.full((1, 1), 0.5)), np.ones((1, 1, 1)), np.array([1.0, 1, 2])[:, None, None]
    )
    with pytest.raises(TimeVaryingError, match=r"C varies over time \(first change: C at step 2\)"):
        interop.to_scipy(ltv)


def test_heads_must_be_chosen():
    u = np.ones((4, 3))
    ltv = dsf.retnet.init(d=3, n=2, p=2, heads=2).ltv(u)
    with pytest.raises(ShapeError, match=r"batch and head axes \(2,\).*head=0"):
        interop.to_scipy(ltv, at=0)
    for bad in (2, -3, (0, 0)):
        with pytest.raises(ShapeError):
            interop.to_scipy(ltv, at=0, head=bad)
    decays = [interop.to_scipy(ltv, at=0, head=h).A[0, 0] for h in (0, 1)]
    np.testing.assert_array_equal(decays, [1 - 2**-5, 1 - 2**-6])
    batch = dsf.gla.init(d=3, n=2, p=2, heads=2).ltv(np.stack([u, 2 * u, 3 * u]))
    assert interop.to_scipy(batch, at=0, head=(2, 1)).A.shape == (2, 2)
    with pytest.raises(ShapeError, match=r"\(3, 2\)"):
        interop.to_scipy(batch, at=0, head=1)


def test_bad_steps_and_worlds():
    ltv = random_lti(0, 2, 1, 1, "after", "dense", 4)
    with pytest.raises(ShapeError, match=r"0 \.\. 3"):
        interop.to_scipy(ltv, at=4)
    with pytest.raises(DTypeError, match="to_sympy"):
        interop.to_scipy(ltv.map(lambda x: sympy.Symbol("s") * x))


def test_torch_systems_leave_the_graph():
    import torch

    u = torch.ones((4, 3), dtype=torch.float64)
    mech = dsf.lru.init(d=3, n=2).map(lambda x: torch.tensor(x, requires_grad=True))
    same = dsf.lru.init(d=3, n=2).ltv(u.numpy())
    np.testing.assert_allclose(
        interop.to_scipy(mech.ltv(u)).A, interop.to_scipy(same).A, rtol=1e-14
    )
    assert interop.to_pandas(mech.ltv(u), "sizes").loc[0, "state"] == 4


def test_control_gets_the_same_matrices():
    import control

    ltv = random_lti(3, 3, 2, 2, "after", "complex", 6)
    u = np.random.default_rng(0).standard_normal((6, 2))
    system = interop.to_control(ltv)
    assert system.isdtime(strict=True)
    y = control.forced_response(system, inputs=u.T, timepts=np.arange(6)).outputs
    np.testing.assert_allclose(y.T, ltv.scan(u[:, :, None])[0][..., 0].real, **TIGHT)


def test_missing_libraries_are_named(monkeypatch):
    ltv = random_lti(0, 2, 1, 1, "after", "dense", 4)
    monkeypatch.setitem(sys.modules, "control", None)
    with pytest.raises(MissingExtraError, match="python-control"):
        interop.to_control(ltv)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pandas"):
        interop.to_pandas(ltv)


# ------------------------------------------------------------------- sympy and LaTeX
def symbolic(name, L=3, n=2, p=1):
    """The system of a family on symbols for its tokens, on numbers, and the map between them."""
    family = dsf.family(name)
    rng = np.random.default_rng(0)
    values = family.draw_tokens(rng, L=L, n=n, p=p)
    substitution = {}

    def letters(field, x):
        out = np.empty(x.shape, dtype=object)
        for index in np.ndindex(x.shape):
            symbol = sympy.Symbol(f"{field}_{''.join(map(str, index))}", real=True)
            substitution[symbol] = x[index]
            out[index] = symbol
        return out

    tokens = Tokens(**{field: letters(field, x) for field, x in values.items()})
    equations = family.without_parameters()
    return equations.system(tokens)[0], equations.system(values)[0], substitution


@pytest.mark.parametrize("name", ["linear_attn", "gla", "deltanet", "rwkv6", "retnet"])
def test_symbols_evaluate_to_the_numbers(name):
    ltv, numbers, substitution = symbolic(name)
    s = interop.to_sympy(ltv)
    assert len(s.A) == len(s.B) == len(s.C) == len(s.D) == ltv.length

    def value(matrix):
        return np.array(matrix.subs(substitution).evalf(30).tolist(), dtype=float)

    np.testing.assert_allclose(value(s.kernel), numbers.kernel(), **TIGHT)
    # and the matrices, multiplied out step by step, give the kernel again
    S = sympy.zeros(ltv.n, ltv.length)
    for t, (A, B, C, D) in enumerate(zip(*s[:4], strict=True)):
        x = sympy.zeros(1, ltv.length)
        x[t] = 1
        old, S = S, A * S + B * x
        row = C * (S if s.read == "after" else old) + D * x
        np.testing.assert_allclose(value(row)[0], numbers.kernel()[t], **TIGHT)


def test_floats_and_balls_in_sympy():
    import flint

    ltv = random_lti(1, 2, 2, 1, "before", "dense", 2)
    s = interop.to_sympy(ltv)
    assert s.read == "before" and s.kernel.shape == (2, 4)
    np.testing.assert_array_equal(np.array(s.A[1].tolist(), dtype=float), ltv.A.A[0])
    balls = LTV(Diag(a=np.array([[flint.arb(1)]])), *[np.array([[[flint.arb(1)]]])] * 2)
    with pytest.raises(DTypeError, match="ball"):
        interop.to_sympy(balls)


X, A_ = sympy.symbols("x a")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (dsf.ops.sigmoid(np.array([X]))[0], "sigmoid(x)"),
        (1 - dsf.ops.sigmoid(np.array([2 * X]))[0], "1 - sigmoid(2*x)"),
        (dsf.ops.softplus(np.array([X]))[0], "softplus(x)"),
        (dsf.ops.logsigmoid(np.array([X]))[0], "-softplus(-x)"),
        (sympy.exp(dsf.ops.logsigmoid(np.array([X]))[0] / 16), "sigmoid(x)**(1/16)"),
        (
            sympy.exp(-sympy.exp(A_) * dsf.ops.softplus(np.array([X]))[0]),
            "exp(-softplus(x)*exp(a))",
        ),
        (1 / (1 + sympy.exp(-1 / (1 + sympy.exp(-X)))), "sigmoid(sigmoid(x))"),
        (1 + sympy.exp(X), "exp(x) + 1"),
        (1 / (2 + sympy.exp(X)), "1/(exp(x) + 2)"),
    ],
)
def test_named_functions(expression, expected):
    named = interop.named_functions(expression)
    assert str(named) == expected
    back = named.replace(sympy.Function("sigmoid"), lambda e: 1 / (1 + sympy.exp(-e)))
    back = back.replace(sympy.Function("softplus"), lambda e: sympy.log(1 + sympy.exp(e)))
    point = {X: sympy.Rational(1, 3), A_: sympy.Rational(1, 5)}
    assert abs((back - expression).subs(point).evalf(30)) < 1e-25


def test_latex_of_a_gated_recurrence():
    ltv, _, _ = symbolic("gla", L=2)
    assert interop.to_latex(ltv).splitlines()[:4] == [
        r"\begin{aligned}",
        r"S_{t} &= A_{t} S_{t-1} + B_{t} X_{t} \\",
        r"Y_{t} &= C_{t} S_{t} \\",
        r"A_{0} &= \operatorname{diag}\left(e^{log_{a 00}}, e^{log_{a 01}}\right) \\",
    ]
    kernel = interop.to_latex(ltv, part="kernel")
    assert kernel.count("M_") == 3 and "S_{t}" not in kernel


def test_latex_shortens_what_is_constant():
    text = interop.to_latex(symbolic("linear_attn", L=2)[0], part="recurrence")
    assert r"A_{t} &= I" in text and "B_{1} &=" in text
    text = interop.to_latex(symbolic("rwkv6", L=2)[0], part="recurrence")
    assert "Y_{t} &= C_{t} S_{t-1} + D_{t} X_{t}" in text
    text = interop.to_latex(random_lti(0, 2, 1, 1, "after", "scalar", 3), digits=2)
    assert text.count("A_{") == 2 and "M_{2,0}" in text
    with pytest.raises(UnknownNameError, match="recurrence"):
        interop.to_latex(symbolic("gla")[0], part="matrices")


def test_latex_leaves_out_zero_entries():
    window = dsf.window_softmax(width=2).init(d=2, n=1, p=1).ltv(np.ones((3, 2)))
    text = interop.to_latex(window, part="kernel")
    assert "M_{2,0}" not in text and "M_{2,1} &= 0.5" in text


# --------------------------------------------------------------------------- pandas
def test_pandas_tables_hold_the_system():
    u = np.random.default_rng(0).standard_normal((4, 3))
    ltv = dsf.gla.init(d=3, n=2, p=2, heads=2).ltv(u)
    kernel = interop.to_pandas(ltv)
    np.testing.assert_array_equal(kernel.to_numpy(), ltv.kernel().reshape(8, 4))
    assert kernel.loc[(1, 3), 0] == ltv.kernel()[1, 3, 0]
    cells = interop.to_pandas(ltv, "coefficients").set_index(
        ["coefficient", "head", "t", "row", "column"]
    )["value"]
    assert cells.loc["C", 1, 3, 0, 1] == ltv.C[1, 3, 0, 1]
    assert len(cells) == 2 * 4 * (4 + 2 + 2 + 1)
    assert interop.to_pandas(ltv, "sizes").loc[0].to_dict() == {
        "L": 4, "n": 2, "m": 1, "r": 1, "heads": 2, "structure": "diagonal", "read": "after",
        "complex": False, "state": 4,
    }  # fmt: skip


def test_pandas_with_several_inputs_and_outputs():
    ltv = dsf.lru.init(d=3, n=2).ltv(np.ones((4, 3)))
    kernel = interop.to_pandas(ltv)
    assert kernel.index.names == ["i", "output"] and kernel.columns.names == ["j", "input"]
    assert kernel.loc[(2, 1), (0, 2)] == ltv.kernel()[2, 1, 0, 2]
    assert len(interop.to_pandas(ltv, "coefficients")) == 4 + 6 + 6 + 9
    with pytest.raises(UnknownNameError, match="coefficients"):
        interop.to_pandas(ltv, "matrices")
