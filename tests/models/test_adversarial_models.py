"""Models, inputs and files that are meant to break `inspect`, `replace` and `plan`."""

from __future__ import annotations

import json

import pytest
import torch
from networks import SelfAttention
from torch import nn

import dsf
from dsf.core.errors import CertificateError, DTypeError
from dsf.models import Inspection, inspect

attend = nn.functional.scaled_dot_product_attention


def floats(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- forged inspections
@pytest.fixture(scope="module")
def kept():
    torch.manual_seed(0)
    model = nn.Sequential(SelfAttention(), nn.LSTM(8, 3, batch_first=True))
    return inspect(model, 3 * floats(1, 40, 8), lengths=(16,), budget=4).to_json()


def test_what_was_not_altered_is_accepted(kept):
    assert Inspection.from_json(kept).check()


def altered(data, *path, to):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = to(data[path[-1]])


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("rows", 0, "states", 0, 1), lambda c: [c[0], c[1] + 1]),
        (("rows", 0, "states", 0, 1), lambda c: [c[0] - 1, c[1]]),
        (("rows", 0, "states", 1, 1), lambda c: [c[1] + 1, c[1] + 1]),
        (("rows", 0, "states"), lambda _: []),
        (("rows", 0, "prefixes", 0, 1, 0, 1), lambda c: [c[0] + 1, c[1] + 1]),
        (("rows", 0, "tokens"), lambda n: n + 1),
        (("rows", 0, "window", 1, 1), lambda _: 1),
        (("rows", 0, "leak"), lambda _: [1, 3]),
        (("rows", 0, "sink"), lambda x: x + 0.01),
        (("rows", 0, "previous"), lambda x: x + 0.01),
        (("rows", 0, "distances", "s4d"), lambda x: x / 2),
        (("rtol", 1), lambda e: e / 2),
        (("proofs",), lambda p: p[:-1]),
        (("proofs",), lambda p: [*p[2:], *p[:2]]),
        (("proofs",), lambda p: [p[1], p[0], *p[2:]]),
        (("layers", 0, "states", 0, 1), lambda c: [c[0], c[1] + 1]),
        (("layers", 0, "states", 1, 1), lambda c: [c[0] + 1, c[1] + 1]),
        (("layers", 0, "leak"), lambda _: [0, 1]),
        (("layers", 0, "norm"), lambda x: 2 * x),
        (("layers", 0, "how"), lambda _: "sketch"),
        (("layers", 0, "tokens"), lambda n: n + 1),
        (("layer_proofs", 0), lambda _: []),
        (("layer_proofs",), lambda _: []),
    ],
)
def test_what_was_altered_is_refused(kept, path, to):
    data = json.loads(kept)
    altered(data, *path, to=to)
    with pytest.raises(CertificateError):
        Inspection.from_data(data).check()


# ---------------------------------------------------------------------- ways to run a model
@pytest.mark.parametrize("module", [
    SelfAttention(), nn.LSTM(8, 3, batch_first=True), nn.Linear(8, 8),
])  # fmt: skip
def test_inference_mode_changes_nothing(module):
    x = floats(1, 8, 8)
    plain = inspect(module, x)
    with torch.inference_mode():
        again = inspect(module, x.clone())
        assert torch.is_inference_mode_enabled() and again.check()
    assert again.rows == plain.rows and again.layers == plain.layers


def test_compiled_models_are_those_that_were_compiled():
    module, x = SelfAttention(), floats(1, 8, 8)
    plain = inspect(module, x)
    compiled = inspect(torch.compile(module, backend="eager"), x)
    assert [row.states for row in compiled.rows] == [row.states for row in plain.rows]
    quick = torch.compile(module.eval(), backend="eager")
    with dsf.replace(quick, states=8) as found:
        assert torch.allclose(quick(x), module(x), atol=1e-5)
    assert len(found.rows) == 4 and found.check()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("within", [False, True])
def test_what_torch_has_scripted_is_refused(within):
    module = torch.jit.trace(SelfAttention().eval(), floats(1, 8, 8))
    module = nn.Sequential(module) if within else module
    with pytest.raises(DTypeError, match="scripted or traced"):
        inspect(module, floats(1, 8, 8))
    with pytest.raises(DTypeError, match="scripted or traced"):
        with dsf.replace(module, states=2):
            pass
