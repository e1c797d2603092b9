"""Mixed values put in the place of a call's own: the same ones change nothing, others do."""

from __future__ import annotations

import pytest
import torch
from networks import WAYS, SelfAttention, tokens
from torch import nn

from dsf.core.errors import DomainError, ShapeError
from dsf.models.capture import run, watched


def same(call, heads=None):
    """Weights times values, head by head: what the model computes itself."""
    V = call.values().double()
    every = range(call.heads) if heads is None else heads
    weights = lambda h: torch.tensor([call.weights(h, s).tolist() for s in range(call.batch)])  # noqa: E731
    return {h: weights(h).double() @ V[:, h] for h in every}


def multi_head(need_weights=False, batched=True, **options):
    layer = nn.MultiheadAttention(8, 2, batch_first=True, **options).eval()
    return layer, lambda x: layer(*[x if batched else x[0]] * 3, need_weights=need_weights)[0]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("L", [1, 6])
@pytest.mark.parametrize("heads", [(), (1,), None])
def test_the_same_values_reproduce_the_output(how, L, heads):
    model, x = SelfAttention(heads=4, how=how).eval(), tokens(L=L)
    y = run(model, (x,), {}, lambda call: same(call, heads))
    assert y.dtype == torch.float32 and torch.allclose(y, model(x), atol=1e-6)


def test_heads_that_share_keys():
    model, x = SelfAttention(heads=4, groups=2).eval(), tokens()
    assert torch.allclose(run(model, (x,), {}, same), model(x), atol=1e-6)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 8, "vdim": 8}])
@pytest.mark.parametrize("heads", [(0,), None])
def test_multi_head_attention(need_weights, batched, options, heads):
    layer, model = multi_head(need_weights, batched, **options)
    x = tokens(B=2)
    y = run(model, (x,), {}, lambda call: same(call, heads))
    assert torch.allclose(y, model(x), atol=1e-6)
    zero = {h: torch.zeros(2 if batched else 1, 6, 4) for h in range(2)}
    bias = torch.zeros(8) if layer.out_proj.bias is None else layer.out_proj.bias
    assert torch.allclose(run(model, (x,), {}, lambda call: zero), bias.expand_as(y), atol=1e-7)


@pytest.mark.parametrize("how", WAYS)
def test_other_values_of_one_head_change_that_head_alone(how):
    model, x = SelfAttention(how=how).eval(), tokens()
    model.out = nn.Identity()
    new = torch.randn(2, 6, 4)
    y, plain = run(model, (x,), {}, lambda call: {1: new}), model(x)
    assert torch.equal(y[..., 4:], new) and torch.equal(y[..., :4], plain[..., :4])
    assert torch.equal(model(x), plain)


@pytest.mark.parametrize(
    ("form", "values"),
    [("bhqk,bhkd->bhqd", "bhkd"), ("bhqk,bkhd->bqhd", "bkhd"), ("b h i j, j d -> b h d i", "jd"),
     ("bgrqk,bkgd->bqgrd", "bkgd"), ("bqk,kbd->qbd", "kbd")],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_products_by_einsum(form, values, first):
    sizes = dict(zip("bhgrqkijd", (2, 3, 2, 2, 5, 5, 5, 5, 4), strict=True))
    weights = form.replace(" ", "").partition(",")[0]
    logits = torch.randn([sizes[c] for c in weights])
    V = torch.randn([sizes[c] for c in values])
    left, result = form.split("->")
    if not first:
        form = ",".join(left.split(",")[::-1]) + "->" + result

    def model():
        W = torch.softmax(logits, -1)
        return torch.einsum(form, *((W, V) if first else (V, W)))

    def other(call):
        return {0: torch.zeros(call.batch, 5, 4), **same(call, [1])}

    plain = model()
    assert torch.allclose(run(model, (), {}, same), plain, atol=1e-6)
    y = run(model, (), {}, other)
    head = form.replace(" ", "").partition("->")[2].index(weights[-3])
    assert torch.equal(y.select(head, 0), torch.zeros_like(y.select(head, 0)))
    assert torch.allclose(y.select(head, 1), plain.select(head, 1), atol=1e-6)


def test_a_context_sees_calls_inside_the_model_only():
    model, x, seen = SelfAttention(), tokens(), []
    with watched(model, seen.append):
        model(x), model(x)
        SelfAttention()(x)
        nn.functional.scaled_dot_product_attention(x, x, x)
    assert [(c.module, c.index) for c in seen] == [("", 0), ("", 1)]
    model(x)
    assert len(seen) == 2


def test_an_exception_of_the_visitor_leaves_the_model_as_it_was():
    model, state = SelfAttention().train(), torch.get_rng_state()

    def fails(call):
        torch.rand(1)
        raise ArithmeticError("of the visitor")

    with pytest.raises(ArithmeticError, match="of the visitor"):
        run(model, (tokens(),), {}, fails)
    assert all(m.training for m in model.modules()) and torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()


def test_what_cannot_be_put_there():
    x = tokens()
    with pytest.raises(ShapeError, match="head 0"):
        run(SelfAttention(), (x,), {}, lambda call: {0: torch.zeros(2, 6, 3)})
    turned = lambda x: torch.einsum("bij,bjd->bd", torch.softmax(x @ x.mT, -1), x)  # noqa: E731
    with pytest.raises(DomainError, match="einsum"):
        run(turned, (x,), {}, same)
    turned = lambda x: x.mT @ torch.softmax(x @ x.mT, -1)  # noqa: E731
    with pytest.raises(DomainError, match="matmul"):
        run(turned, (x,), {}, same)
    model = nn.MultiheadAttention(8, 2, add_bias_kv=True, batch_first=True)
    with pytest.raises(DomainError, match="add_bias_kv"):
        run(lambda x: model(x, x, x)[0], (x,), {}, same)
