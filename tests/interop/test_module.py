"""One torch module for every mechanism: names, training, and the numbers back."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch

import dsf
from dsf.core.catalogue import everything
from dsf.core.errors import ShapeError, UnknownNameError
from dsf.interop.module import Module


def test_parameters_are_the_fields():
    mech = dsf.gla.init(d=3, n=2, p=2)
    module = mech.to_torch()
    assert dict(module.named_parameters()).keys() == mech.parameters().keys()
    assert all(np.array_equal(getattr(module.mech, k), v) for k, v in mech.parameters().items())
    assert "gla(" in repr(module)


@pytest.mark.smoke
@pytest.mark.parametrize("family", [dsf.gla, dsf.deltanet, dsf.softmax, dsf.lru, dsf.gru])
def test_it_trains(family):
    """Gradient descent on the parameters of one instance towards the outputs of another."""
    torch.manual_seed(0)
    u = torch.as_tensor(np.random.default_rng(0).standard_normal((8, 3)))
    target = torch.as_tensor(family.init(d=3, n=2, p=3, seed=1)(u.numpy()))
    module = family.init(d=3, n=2, p=3, seed=2).to_torch()
    before = module.mech
    optimiser = torch.optim.Adam(module.parameters(), lr=0.03)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = ((module(u) - target) ** 2).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    after = module.mech
    assert isinstance(after, type(before))
    moved = [not np.array_equal(v, getattr(after, k)) for k, v in before.parameters().items()]
    assert all(moved)
    # the numbers that come back compute what the module computes
    assert np.allclose(after(u.numpy()), module(u).detach().numpy(), rtol=1e-12, atol=1e-13)


def test_the_mechanism_is_not_changed_by_training():
    mech = dsf.gla.init(d=2)
    kept = mech.Wq.copy()
    module = mech.to_torch()
    with torch.no_grad():
        module.Wq += 1
    assert np.array_equal(mech.Wq, kept)
    assert np.array_equal(module.mech.Wq, kept + 1)


def test_fixed_parameters_are_buffers():
    module = Module(dsf.retnet.init(d=2), fixed=["gamma", "theta"])
    assert {k for k, _ in module.named_buffers()} == {"gamma", "theta"}
    module(torch.ones(3, 2, dtype=torch.float64)).sum().backward()
    assert module.gamma.grad is None
    with pytest.raises(UnknownNameError, match="no parameter Wx"):
        Module(dsf.retnet.init(d=2), fixed=["Wx"])


def test_dtype_state_dict_copy_and_pickle():
    module = dsf.deltanet.init(d=2, n=2, p=2).to_torch()
    u = torch.ones(3, 2)
    single = copy.deepcopy(module).float()
    assert single(u).dtype == torch.float32
    other = dsf.deltanet.init(d=2, n=2, p=2, seed=5).to_torch()
    other.load_state_dict(module.state_dict())
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for copied in (other, loaded):
        assert torch.equal(copied(u.double()), module(u.double()))


# ------------------------------------------------------------------ the dtype of a new module
def test_a_mechanism_keeps_every_digit_in_torch():
    """Whatever torch's default dtype is: what was certified of the numbers holds for the module."""
    mech, u = dsf.gla.init(d=4, heads=2), np.random.default_rng(0).standard_normal((9, 4))
    for one, name in ((mech, "float64"), (mech.map(np.float32), "float32")):
        module = one.to_torch()
        assert {str(x.dtype) for x in module.parameters()} == {f"torch.{name}"}
        kept, held = module.mech.parameters(), one.parameters()
        assert all(np.array_equal(kept[k], x) and kept[k].dtype == name for k, x in held.items())
    assert np.allclose(mech.to_torch()(torch.as_tensor(u)).detach(), mech(u), rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
@pytest.mark.parametrize("f", everything(), ids=repr)
def test_a_new_layer_is_a_layer_of_torch(f):
    """Default dtype and device of torch, seeds of torch; it goes between two linear layers."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        kept = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            linear = torch.nn.Linear(4, 4)
            model = torch.nn.Sequential(linear, f.to_torch(d=4, heads=2), torch.nn.Linear(4, 4))
            assert model(torch.ones(2, 3, 4)).dtype == dtype
        finally:
            torch.set_default_dtype(kept)
        assert {x.dtype for x in model.parameters()} == {dtype}


def test_new_layers_differ_and_are_drawn_again_from_the_same_seed():
    torch.manual_seed(0)
    first, second = (dsf.gla.to_torch(d=4) for _ in range(2))
    assert not torch.equal(first.Wq, second.Wq)
    torch.manual_seed(0)
    assert torch.equal(first.Wq, dsf.gla.to_torch(d=4).Wq)
    chosen = dsf.gla.to_torch(d=4, n=2, p=3, heads=5, seed=7)
    drawn = dsf.gla.init(d=4, n=2, p=3, heads=5, seed=7).parameters()
    for k, x in chosen.named_parameters():
        assert np.array_equal(x.detach(), drawn[k].astype(np.float32))
    with torch.device("meta"):
        assert dsf.gla.to_torch(d=4).Wq.is_meta
    with pytest.raises(ShapeError, match="heads = 3 does not divide d = 4"):
        dsf.gla.to_torch(d=4, heads=3)


def test_streaming():
    module, u = dsf.mamba3.init(d=2, n=2).to_torch(), torch.ones(5, 2, dtype=torch.float64)
    head, state = module.run(u[:2])
    assert torch.allclose(torch.cat([head, module.run(u[2:], state)[0]]), module(u), rtol=1e-13)


# ------------------------------------------------------------------ modules in questions
def test_a_module_stands_for_its_mechanism_in_questions():
    mech, u = dsf.gla.init(d=4, n=2, p=2), np.random.default_rng(0).standard_normal((20, 4))
    module = mech.to_torch()
    found = dsf.compare(module, mech)
    assert found.verdict.name == "EQUAL" and found.check()
    for asked in (u, torch.as_tensor(u)):
        assert dsf.states_needed(module, asked, rtol=1e-3).upper == 2
    shared = dsf.compare(module, "gla", u=torch.as_tensor(u), n=2, p=2)
    assert shared.verdict.name == "APPROXIMABLE" and shared.check()
    half = dsf.states_needed(module.bfloat16(), torch.as_tensor(u).bfloat16(), rtol=1e-2)
    assert half.upper == 2 and module.mech.Wq.dtype == np.float32
    for asked in (u, torch.as_tensor(u)):
        steady = dsf.stability(module, asked)
        assert steady.verdict == "contractive" and steady.check()
    assert dsf.stability(dsf.lru.init(d=4).to_torch()).verdict == "stable"
