"""States between the parts of a sequence: copied, moved, and refused where they do not fit."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from dsf.core.catalogue import families
from dsf.core.errors import DTypeError, ShapeError

FAMILIES = sorted(families().values(), key=repr)
EVERY = pytest.mark.parametrize("f", FAMILIES, ids=repr)


def saved(x):
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@EVERY
def test_a_copy_goes_on_as_the_state_does(f):
    mech, u = f.init(d=4, n=2, p=2), np.random.default_rng(0).standard_normal((9, 4))
    _, state = mech.run(u[:5])
    wanted, _ = mech.run(u[5:], state)
    for make in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), saved):
        again = make(state)
        assert again.t == 5 and repr(again) == repr(state)
        np.testing.assert_array_equal(mech.run(u[5:], again)[0], wanted)
        tokens = make(mech.tokens(u))
        assert tokens.names == mech.tokens(u).names


@EVERY
def test_a_state_moves_to_another_library_and_precision(f):
    mech, u = f.init(d=4, n=2, p=2), np.random.default_rng(0).standard_normal((9, 4))
    _, state = mech.run(u[:5])
    wanted = mech.run(u[5:], state)[0]
    module = mech.to_torch()
    held = state.map(torch.as_tensor)
    y, _ = module.run(torch.as_tensor(u[5:]), held)
    np.testing.assert_allclose(y.detach(), wanted, rtol=1e-12, atol=1e-12)
    kinds = {torch.float64: torch.float32, torch.complex128: torch.complex64}
    single = held.map(lambda x: x.to(kinds[x.dtype]))
    y, after = module.float().run(torch.as_tensor(u[5:]).float(), single)
    np.testing.assert_allclose(y.detach(), wanted, rtol=1e-4, atol=1e-4)
    assert not any(x.requires_grad for x in after.detach().arrays())
    assert all(x.device.type == "cpu" for x in after.to("cpu").arrays())


@EVERY
def test_a_state_of_another_batch_is_refused(f):
    mech, rng = f.init(d=4, n=2, p=2), np.random.default_rng(0)
    _, state = mech.run(rng.standard_normal((4, 5, 4)))
    for shape in ((3, 5, 4), (1, 5, 4), (5, 4), (2, 4, 5, 4)):
        with pytest.raises(ShapeError, match=r"the state has the batch axes \[4\]"):
            mech.run(rng.standard_normal(shape), state)
    _, single = mech.run(rng.standard_normal((5, 4)))
    with pytest.raises(ShapeError, match=r"batch axes \[\], and u has \[4\]"):
        mech.run(rng.standard_normal((4, 5, 4)), single)
    assert mech.run(rng.standard_normal((4, 2, 4)), state)[1].t == 7


@EVERY
def test_a_state_of_another_library_or_precision_is_refused(f):
    mech, u = f.init(d=4, n=2, p=2), np.ones((5, 4))
    _, state = mech.run(u)
    module = mech.to_torch()
    with pytest.raises(DTypeError, match="the state holds a numpy array and u is a torch tensor"):
        module.run(torch.as_tensor(u), state)
    with pytest.raises(DTypeError, match="the state holds a torch tensor and u is a numpy array"):
        mech.run(u, module.run(torch.as_tensor(u))[1])
    single = mech.map(np.float32)
    with pytest.raises(DTypeError, match="and this input is computed in float32"):
        single.run(u.astype(np.float32), state)
    with pytest.raises(DTypeError, match=r"is computed in torch\.float32"):
        module.float().run(torch.as_tensor(u).float(), state.map(torch.as_tensor))
