"""Models, inputs and files that are meant to break `inspect`, `replace` and `plan`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import LanguageModel, SelfAttention
from torch import nn

import dsf
from dsf.core.errors import CertificateError, DomainError, DTypeError, NonFiniteError, ShapeError
from dsf.models import Inspection, Plan, inspect, losses, plan
from dsf.models.distil import Distilled

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


class Experts(nn.Module):
    """A mixture of experts that are vectors, with as many experts as tokens."""

    def __init__(self, form):
        super().__init__()
        self.rout, self.form = nn.Linear(8, 8), form

    def forward(self, x):
        weights = torch.softmax(self.rout(x), -1)
        experts = x.new_ones(8, 8)
        return torch.einsum("ble,ed->bld", weights, experts) if self.form else weights @ experts


@pytest.mark.parametrize("form", [False, True])
def test_routing_is_no_attention(form):
    found = inspect(Experts(form), floats(1, 8, 8))
    assert not found.rows and [row.kind for row in found.layers] == ["whole"]


class Single(nn.Linear):
    """It makes a tensor of float32 itself."""

    def forward(self, x):
        return super().forward(x) @ torch.eye(8)


def test_a_layer_that_does_not_run_in_float64_says_so():
    [row] = inspect(Single(8, 8), floats(1, 6, 8)).layers
    assert not row.states and "does not run in float64" in row.note


@pytest.mark.parametrize("shape", [(0, 6, 8), (1, 0, 8), (1, 6, 0)])
@pytest.mark.parametrize("model", [
    SelfAttention(), nn.LSTM(8, 3, batch_first=True), nn.Linear(8, 8),
    nn.TransformerEncoderLayer(8, 2, 8, batch_first=True),
])  # fmt: skip
def test_inputs_that_hold_nothing_are_refused(model, shape):
    with pytest.raises(ShapeError, match="holds nothing"):
        inspect(model, floats(*shape))


@pytest.mark.parametrize("shape", [(0, 6), (1, 0)])
def test_texts_without_tokens_are_refused(shape):
    with pytest.raises(ShapeError, match="holds nothing"):
        inspect(LanguageModel(), torch.zeros(shape, dtype=torch.int64))


def test_attention_on_nothing_has_no_states():
    x = floats(1, 2, 0, 4)
    found = inspect(lambda: attend(x, x, x))
    assert [row.states[0.1] for row in found.rows] == [(0, 0)] * 2 and found.check()


@pytest.mark.parametrize("options", [
    {"rtol": "a"}, {"rtol": ()}, {"rtol": float("nan")}, {"rtol": (0.1, 1)}, {"budget": -1},
    {"budget": 1.5}, {"lengths": (0,)}, {"lengths": "ab"},
])  # fmt: skip
def test_options_that_mean_nothing(options):
    with pytest.raises(DomainError):
        inspect(SelfAttention(), floats(1, 6, 8), **options)


def test_an_error_that_is_given_twice_counts_once():
    found = inspect(SelfAttention(), floats(1, 6, 8), rtol=(0.1, 0.1))
    assert found.rtol == (0.1,) and found.check()


def test_more_words_than_the_embedding_has_are_refused():
    with pytest.raises(DomainError, match="100 rows"):
        inspect(LanguageModel(), torch.arange(20)[None], vocabulary=1000)


def test_a_mask_may_be_given_by_its_place():
    ids, mask = torch.arange(20)[None], (torch.arange(20) >= 4).long()[None]
    by_place = inspect(LanguageModel(), ids, mask)
    assert by_place.rows == inspect(LanguageModel(), ids, attention_mask=mask).rows
    assert by_place.rows[0].tokens == 16


class Cached(nn.Module):
    """Attention that puts its keys into a list that it is given, after those that are there."""

    def forward(self, x, past):
        past.append(x)
        keys = torch.cat(past, -2)
        return attend(x, keys, keys)


def test_a_cache_of_the_user_is_left_as_it_was():
    past = [floats(1, 1, 3, 4)]
    found = inspect(Cached(), floats(1, 1, 5, 4), past=past)
    assert len(past) == 1
    assert found.rows[0].note.startswith("5 queries on 8 keys, as in cached decoding: no map")
    text = repr(found)
    assert "nothing counted" in text and "enclosed" not in text


def test_a_verdict_needs_a_count_on_every_probe():
    found = inspect(LanguageModel(), torch.arange(40)[None], budget=8)
    rows = [*found.rows[:4], *(replace(row, states={}) for row in found.rows[4:])]
    verdicts = replace(found, rows=tuple(rows), proofs=None).verdicts
    assert {v.word for v in verdicts.values()} == {"not counted"}


def test_the_rule_that_is_printed_is_about_the_words_that_are():
    text = repr(inspect(SelfAttention(), floats(1, 6, 8)))
    assert "too short: fewer than 128 tokens" in text and "keep:" not in text
    assert "1 token " in repr(inspect(SelfAttention(), floats(1, 1, 8)))


class Catches(nn.Module):
    """Its layer raises once, and the model goes on."""

    def __init__(self):
        super().__init__()
        self.layer, self.attention = nn.LSTM(8, 3, batch_first=True), SelfAttention()

    def forward(self, x):
        try:
            self.layer(x[..., :3])
        except RuntimeError:
            self.layer(x)
        return self.attention(x)


def test_a_layer_whose_first_call_raised_is_seen_again():
    model = Catches()
    found = inspect(model, floats(1, 6, 8))
    assert [(row.module, row.call) for row in found.layers] == [("layer", 0)] and found.check()
    assert {row.module for row in found.rows} == {"attention"}
    assert found.kernel(found.layers[0]).kernel.shape == (6, 3, 6, 8)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# ---------------------------------------------------------------------- replaced heads, plans
@pytest.mark.parametrize("shape", [(0, 6, 8), (1, 0, 8)])
def test_nothing_cannot_be_replaced(shape):
    model = SelfAttention()
    with pytest.raises(ShapeError, match="at least one of each"):
        with dsf.replace(model, states=1):
            model(floats(*shape))


def test_heads_are_counted_once_and_not_for_each_text():
    model, ids = LanguageModel(), torch.arange(24).reshape(2, 12)
    with dsf.replace(model, states=1) as found:
        model(ids)
    assert repr(found).startswith("4 heads in 2 modules as recurrences, 8 rows")
    assert [row.heads for row in losses(model, ids, states=(1, 2), by_module=True).rows] == [2] * 4
    with pytest.raises(DomainError, match="sequence of numbers"):
        losses(model, ids, states=2)


@pytest.fixture(scope="module")
def kept_plan():
    """A plan that checks, as JSON."""
    torch.manual_seed(0)
    kept = plan(SelfAttention(), 3 * floats(1, 20, 8), total=5, rtol=(0.5, 0.3, 0.2, 0.1))
    assert kept.floor > 0
    text = kept.to_json()
    assert Plan.from_data(json.loads(text)).check()
    return text


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("floor",), lambda x: 1.001 * x),
        (("total",), lambda n: n + 1),
        (("squares",), lambda x: 0.999 * x),
        (("shares", 0, "states"), lambda n: n + 1),
        (("shares", 0, "error"), lambda x: 0.999 * x),
        (("shares", 0, "tokens"), lambda n: n + 1),
        (("shares", 1, "head"), lambda _: 0),
        (("proofs",), lambda p: p[::-1]),
        (("rtol",), lambda e: e[1:]),
    ],
)
def test_an_altered_plan_is_refused(path, to, kept_plan):
    data = json.loads(kept_plan)
    altered(data, *path, to=to)
    with pytest.raises(CertificateError):
        Plan.from_data(data).check()


# ---------------------------------------------------------------------- students
def far(L=16):
    i = np.arange(L)
    return np.tril(1 / (1 + np.subtract.outer(i, i).clip(0)))


def test_students_are_fitted_in_inference_mode_too():
    plain = dsf.distil(far(), states=1, iterations=5).row().fitted
    with torch.inference_mode():
        assert dsf.distil(far(), states=1, iterations=5).row().fitted == plain
        u, M = np.random.default_rng(0).standard_normal((1, 16, 3)), far()[None]
        assert dsf.distil(M, states=1, inputs=u, iterations=3).check()


def test_kernels_of_bfloat16_are_taken_as_they_are():
    M = torch.as_tensor(far()).bfloat16()
    found = dsf.distil(M, states=1, iterations=0)
    assert np.array_equal(found.kernel, M.double().numpy()) and found.check()


@pytest.mark.parametrize(
    ("kernel", "options", "error"),
    [
        (np.zeros((0, 0)), {}, ShapeError),
        (far()[None][:0], {"inputs": np.zeros((0, 16, 3))}, ShapeError),
        (far()[None], {"inputs": np.full((1, 16, 3), np.nan)}, NonFiniteError),
        (far(), {"iterations": -1}, DomainError),
    ],
)
def test_kernels_that_cannot_be_distilled(kernel, options, error):
    with pytest.raises(error):
        dsf.distil(kernel, states=1, **options)


def test_an_answer_without_rows_is_refused():
    data = dsf.distil(far(), states=1, iterations=0).to_data()
    with pytest.raises(CertificateError, match="no row"):
        Distilled.from_data({**data, "rows": []}).check()
