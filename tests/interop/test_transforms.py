"""Modules inside of what torch does to modules: transforms, compilation, parametrisation."""

from __future__ import annotations

from shutil import which

import pytest
import torch
from torch.nn.utils import parametrizations, prune

import dsf
from dsf.core.catalogue import families
from dsf.core.errors import DTypeError
from dsf.interop.module import Module

FAMILIES = sorted(families().values(), key=repr)
EVERY = pytest.mark.parametrize("f", FAMILIES, ids=repr)
pytestmark = pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")


def module(f) -> Module:
    return f.init(d=4, n=2, p=2).to_torch()


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 6, 4, dtype=torch.float64, generator=torch.manual_seed(0))


@EVERY
def test_vmap_runs_the_batch(f):
    u, m = inputs(3), module(f)
    torch.testing.assert_close(torch.vmap(m)(u), m(u))


@EVERY
def test_derivatives_of_torch_func_are_those_of_autograd(f):
    u, m = inputs(), module(f)
    wanted = torch.autograd.functional.jacobian(m, u)
    torch.testing.assert_close(torch.func.jacrev(m)(u), wanted)
    direction = inputs(1)[0].flip(0)
    _, moved = torch.func.jvp(m, (u,), (direction,))
    torch.testing.assert_close(moved, torch.einsum("abcd,cd->ab", wanted, direction))
    total = torch.func.grad(lambda x: m(x).sum())(u)
    torch.testing.assert_close(total, wanted.sum((0, 1)))


@EVERY
def test_derivatives_by_parameters_of_a_functional_call(f):
    u, m = inputs(), module(f)
    held = dict(m.named_parameters())

    def total(values):
        return torch.func.functional_call(m, values, (u,)).sum()

    found = torch.func.grad(total)({k: x.detach() for k, x in held.items()})
    m(u).sum().backward()
    for k, x in held.items():
        torch.testing.assert_close(found[k], torch.zeros_like(x) if x.grad is None else x.grad)


@pytest.mark.slow
@pytest.mark.parametrize("f", [dsf.gla, dsf.softmax, dsf.mamba, dsf.gru], ids=repr)
def test_a_module_is_exported(f):
    u, m = inputs(2), module(f)
    exported = torch.export.export(m, (u,)).module()
    torch.testing.assert_close(exported(u), m(u))


def assert_compiles(m, u, backend):
    """Outputs and gradients in one graph, also with other numbers in the parameters."""
    torch.compiler.reset()
    compiled = torch.compile(m, backend=backend, fullgraph=True)
    for _ in range(2):
        m.zero_grad()
        y = m(u)
        y.square().sum().backward()
        wanted = {k: x.grad for k, x in m.named_parameters()}
        m.zero_grad()
        found = compiled(u)
        found.square().sum().backward()
        torch.testing.assert_close(found, y)
        for k, x in m.named_parameters():
            assert (x.grad is None) == (wanted[k] is None)
            if x.grad is not None:
                torch.testing.assert_close(x.grad, wanted[k])
        with torch.no_grad():
            for x in m.parameters():
                x.mul_(0.9)


@EVERY
def test_a_module_is_compiled_into_one_graph(f):
    assert_compiles(module(f), inputs(2), "eager")


@pytest.mark.slow
@EVERY
def test_the_compiled_graph_is_that_of_tensors(f):
    assert_compiles(module(f), inputs(2), "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(not (which("c++") or which("g++")), reason="inductor needs a C++ compiler")
def test_a_layer_of_a_model_is_compiled_to_machine_code():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4, dtype=torch.float64), module(dsf.gla))
    assert_compiles(model, inputs(2), "inductor")


def test_a_compiled_function_may_stream():
    m, u = module(dsf.gla), inputs(2)

    def two_parts(u):
        y, state = m.run(u[:, :2])
        return torch.cat([y, m.run(u[:, 2:], state)[0]], dim=1)

    torch.testing.assert_close(torch.compile(two_parts, backend="eager")(u), m(u))
    torch.compiler.reset()  # otherwise the graphs of the call above are found
    with pytest.raises(RuntimeError, match="returns a State, which is no tensor of a graph"):
        torch.compile(two_parts, backend="eager", fullgraph=True)(u)


def test_tracing_says_what_to_use_instead():
    with pytest.raises(DTypeError, match=r"torch\.export"):
        torch.jit.trace(module(dsf.gla), inputs())


@EVERY
def test_parametrised_and_pruned_weights_are_the_ones_used(f):
    u = inputs()
    name = next(k for k in f.init(d=4, n=2, p=2).parameters() if k.startswith(("W", "b", "log")))
    m, same = module(f), module(f)
    parametrizations.weight_norm(m, name)
    torch.testing.assert_close(m(u), same(u))
    with torch.no_grad():
        m.parametrizations[name].original0.mul_(2)  # the length of the weight
        getattr(same, name).mul_(2)
    torch.testing.assert_close(m(u), same(u))
    m = module(f)
    prune.random_unstructured(m, name, 0.5)
    assert torch.count_nonzero(getattr(m, name)) < getattr(m, name).numel()
    assert m.mech.parameters()[name].tolist() == getattr(m, name).tolist()


def test_buffers_and_modules_of_a_subclass_are_its_own():
    class Scaled(Module):
        def __init__(self, mech):
            super().__init__(mech)
            self.register_buffer("factor", torch.tensor(2.0, dtype=torch.float64))
            self.out = torch.nn.Linear(2, 3, dtype=torch.float64)

        def forward(self, u):
            return self.out(self.factor * super().forward(u))

    m = Scaled(dsf.gla.init(d=4, n=2, p=2))
    assert m(inputs()).shape == (6, 3)
    m(inputs()).sum().backward()
    assert m.out.weight.grad.any() and m.Wq.grad.any()
