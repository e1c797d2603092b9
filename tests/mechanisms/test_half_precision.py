"""Half precision: inputs and parameters may be rounded to it, nothing is computed in it.

The reference is float64 on the numbers that the rounding left.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsf
from dsf.core.catalogue import everything
from dsf.core.kinds import Recurrence, Step
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.transition import Diag

FAMILIES = everything()
HALF = [torch.bfloat16, torch.float16]
pytestmark = pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
SINGLE = 2e-5  # relative to the largest output: a dozen steps in float32


def relative(y: torch.Tensor, wanted: torch.Tensor) -> float:
    y = y.detach().double()
    return float((y - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize("kind", HALF, ids=str)
@pytest.mark.parametrize("f", FAMILIES, ids=repr)
def test_tokens_in_half_precision_are_computed_in_float32(f, kind):
    draw = f.draw_tokens(np.random.default_rng(0), 12, n=4, p=2, d=2)
    half = draw.map(lambda x: torch.as_tensor(x).to(kind))
    mech = f.without_parameters()
    y, state = mech.advance(half, State())
    wanted, _ = mech.advance(half.map(lambda x: x.double()), State())
    assert y.dtype == (torch.complex64 if wanted.is_complex() else torch.float32)
    assert all(x.dtype in (torch.float32, torch.complex64) for x in state.arrays())
    assert relative(y.real, wanted.real) < SINGLE


@pytest.mark.parametrize("f", FAMILIES, ids=repr)
def test_a_system_of_tokens_in_half_precision_is_computed_in_float32(f):
    if not issubclass(f.cls, Recurrence):
        return
    half = f.draw_tokens(np.random.default_rng(0), 12, n=4, p=2, d=2)
    half = half.map(lambda x: torch.as_tensor(x).bfloat16())
    mech = f.without_parameters()
    ltv, X = mech.system(half)
    wide, Y = mech.system(half.map(lambda x: x.double()))
    assert relative(ltv.scan(X)[0].real, wide.scan(Y)[0].real) < SINGLE


@pytest.mark.parametrize("f", FAMILIES, ids=repr)
def test_a_module_in_half_precision_returns_it_and_rounds_once(f):
    mech = f.init(d=4, n=4, p=2)
    u = torch.as_tensor(np.random.default_rng(0).standard_normal((2, 12, 4))).bfloat16()
    module = mech.to_torch().bfloat16()
    y = module(u)
    wanted = module.double()(u.double()).detach()  # the rounded numbers, which double() keeps
    assert y.dtype == torch.bfloat16 and module.run(u)[1].t == 12
    assert relative(y, wanted) < 2**-8 + SINGLE


@pytest.mark.parametrize("f", FAMILIES, ids=repr)
def test_autocast_changes_the_dtype_of_the_output_alone(f):
    module = f.init(d=4, n=4, p=2).to_torch().float()
    u = torch.as_tensor(np.random.default_rng(0).standard_normal((12, 4))).float()
    plain, state = module.run(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, same = module.run(u)
        linear = torch.nn.Linear(4, 4)(u).dtype
        assert module.live()(u).dtype == torch.float32  # a mechanism keeps its numbers
    assert y.dtype == linear == torch.bfloat16 and torch.equal(y, plain.bfloat16())
    for a, b in zip(state.arrays(), same.arrays(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("held", [*HALF, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("given", [*HALF, torch.float32, torch.float64], ids=str)
def test_the_output_has_the_wider_dtype_or_that_of_autocast(held, given):
    """As `torch.nn.Linear` under autocast, which leaves float64 alone."""
    module = dsf.gla.init(d=4, n=4, p=2).to_torch().to(held)
    u, wider = torch.ones(3, 4, dtype=given), torch.promote_types(held, given)
    assert module(u).dtype == wider
    for kind in HALF:
        with torch.autocast("cpu", dtype=kind):
            assert module(u).dtype == (wider if wider == torch.float64 else kind)


@pytest.mark.parametrize("f", FAMILIES, ids=repr)
def test_tokens_and_systems_are_doors_too_inside_of_autocast(f):
    mech = f.init(d=4, n=4, p=2).map(lambda x: torch.as_tensor(x).float())
    u = torch.as_tensor(np.random.default_rng(0).standard_normal((12, 4))).float()
    tok = mech.tokens(u)

    def everything() -> list[torch.Tensor]:
        found = [mech.advance(tok, State())[0], mech(u)]
        if not issubclass(f.cls, Step):  # whose step is no system
            ltv, X = mech.system_on(u)
            end = ltv.scan(X)[1]
            found += [ltv.scan(X)[0], ltv.chunk(X, 4)[0], ltv.kernel(), ltv.hankel(5)]
            found += [ltv.step(3, end, X[..., 3, :, :])[0], mech.kernel(u)]
            composed = ltv.element(0, 5, X[..., :5, :, :])
            found += [composed.b, *composed.A.arrays(), *ltv.dense().arrays()]
            if ltv.m == ltv.r == 1 and not any(x.is_complex() for x in ltv.arrays()):
                found += ltv.then(ltv).arrays()
        return found

    plain = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = everything()
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(plain, cast, strict=True))


@pytest.mark.parametrize("kind", HALF, ids=str)
def test_decays_near_one_survive_the_door_of_another_library(kind):
    """exp(-1e-3) is 1 in bfloat16: the sum of 500 powers would be 500."""
    ones = torch.ones(1, 500, 1, 1, dtype=kind)
    g = torch.full((1, 500, 1, 1), -1e-3, dtype=kind)
    ltv, X = dsf.gla.without_parameters().system(dsf.interop.from_fla(ones, ones, ones, g, scale=1))
    wanted = float(torch.exp(g[0, 0, 0, 0].double() * torch.arange(500)).sum())
    assert 393 < wanted < 394
    for y in (ltv.scan(X)[0], ltv.chunk(X, 64)[0]):
        assert y.flatten()[-1].item() == pytest.approx(wanted, rel=2e-5)


def test_coefficients_of_a_system_are_at_least_float32():
    a, one = np.full((1, 1), 0.999, np.float16), np.ones((1, 1, 1), np.float16)
    ltv = LTV(Diag(a=a), one, one, one, steps=100)
    assert all(x.dtype == np.float32 for x in ltv.arrays())
    exact = np.cumsum(float(a[0, 0]) ** np.arange(100))[-1] + 1
    assert ltv.scan(np.ones((100, 1, 1), np.float16))[0][-1, 0, 0] == pytest.approx(exact, rel=1e-5)
