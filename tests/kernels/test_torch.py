"""The kernels as operators of torch: derivatives, transforms, compiled graphs."""

from __future__ import annotations

import numpy as np
import pytest

from dsf import kernels
from dsf.core.errors import KernelError
from dsf.core.metrics import gate, ratio

torch = pytest.importorskip("torch")
pytest.importorskip("numba")
import cases  # noqa: E402

from dsf.kernels import differentiable  # noqa: E402

EVERY = pytest.mark.parametrize("name", cases.STRUCTURES)


def tensors(arrays, dtype=torch.float64):
    return [torch.tensor(x, dtype=dtype, requires_grad=True) for x in arrays]


def gradients(structure, backend, arrays, numbers, dy, dS):
    y, S = differentiable.run(structure, backend, arrays, numbers)
    return torch.autograd.grad((y * dy).sum() + (S * dS).sum(), arrays)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("L", [1, 2, 63, 65])
def test_gradients(name, dtype, L):
    structure, arrays, numbers = cases.case(name, L)
    rng = np.random.default_rng(1)
    inputs = tensors(arrays, dtype)
    exact = tensors([x.detach().numpy() for x in inputs])
    y, S = differentiable.run(structure, "reference", exact, numbers)
    dy, dS = (torch.tensor(rng.standard_normal(x.shape)) for x in (y, S))
    wanted = gradients(structure, "reference", exact, numbers, dy, dS)
    found = gradients(structure, "numba", inputs, numbers, dy.to(dtype), dS.to(dtype))
    for x, g in zip(found, wanted, strict=True):
        assert x.dtype == dtype
        assert ratio(x, g, float(g.abs().max()) + 0 * g) <= gate(L)


@pytest.mark.parametrize("name", ["linear", "low_rank substeps", "diagonal", "selective"])
def test_torch_checks_the_gradients(name):
    structure, arrays, numbers = cases.case(name, L=3, B=1, H=1, K=2, V=2)
    run = differentiable.run
    assert torch.autograd.gradcheck(
        lambda *x: run(structure, "numba", [*x], numbers), tensors(arrays)
    )


def test_complex_gradients():
    a, b, h = (x[..., :3] for x in cases.case("diagonal", L=4)[1])
    turned = [torch.tensor(x * np.exp(1j * np.arange(3)), requires_grad=True) for x in (a, b, h)]
    run = differentiable.run
    assert torch.autograd.gradcheck(lambda *x: run("diagonal", "numba", [*x], []), turned)


@EVERY
def test_the_operators_are_what_torch_wants(name):
    structure, arrays, numbers = cases.case(name, L=3)
    inputs = [x.detach() for x in tensors(arrays)]
    y, S = differentiable.run(structure, "numba", inputs, numbers)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        torch.ops.dsf.kernel.default, (structure, "numba", inputs, numbers), test_utils=tests
    )
    args = (structure, "numba", inputs, numbers, y, S)
    torch.library.opcheck(torch.ops.dsf.kernel_backward.default, args, test_utils=tests)


# --------------------------------------------------------------------- transforms
def attention():
    _, (q, k, v, w, S), _ = cases.case("linear", L=5)
    inputs = [torch.tensor(x) for x in (q, k, v, np.log(w), S)]
    return inputs, lambda *x: kernels.linear_attention(*x)


def test_vmap():
    inputs, f = attention()
    many = torch.stack([inputs[0], 2 * inputs[0]], 1)
    y = torch.vmap(lambda q: f(q, *inputs[1:])[0], in_dims=1, out_dims=1)(many)
    assert torch.allclose(y[:, 1], 2 * f(*inputs)[0], rtol=1e-13)


def test_derivatives_of_examples_apart():
    inputs, f = attention()
    one = torch.func.grad(lambda *x: f(*[z[None] for z in x])[0].square().sum())
    apart = torch.vmap(one)(*inputs)
    inputs[0].requires_grad_()
    (whole,) = torch.autograd.grad(f(*inputs)[0].square().sum(), inputs[:1])
    assert torch.allclose(apart, whole, rtol=1e-12)


def test_jacobian():
    inputs, f = attention()
    J = torch.func.jacrev(lambda q: f(q, *inputs[1:])[0])(inputs[0])
    assert torch.allclose((J * inputs[0]).sum((-4, -3, -2, -1)), f(*inputs)[0], rtol=1e-12)


def test_forward_mode_and_second_derivatives_are_refused_never_zero():
    inputs, f = attention()
    with pytest.raises((NotImplementedError, RuntimeError), match="jvp"):
        torch.func.jvp(lambda q: f(q, *inputs[1:])[0], inputs[:1], inputs[:1])
    with pytest.raises(KernelError, match="first derivatives only"):
        torch.func.jacrev(torch.func.grad(lambda q: f(q, *inputs[1:])[0].sum()))(inputs[0])
    inputs[0].requires_grad_()
    y = f(*inputs)[0].square().sum()
    (g,) = torch.autograd.grad(y, inputs[:1], create_graph=True)
    with pytest.raises(KernelError, match="first derivatives only"):
        g.sum().backward()


def test_second_derivatives_of_the_reference():
    (q, *rest), _ = attention()
    f = lambda q: kernels.linear_attention(q, *rest, backend="reference")[0].square().sum()  # noqa: E731
    assert torch.func.hessian(f)(q).abs().max() > 1


def test_compiled_graphs():
    inputs, f = attention()
    inputs[0].requires_grad_()
    compiled = torch.compile(lambda *x: f(*x)[0].sum(), fullgraph=True, backend="aot_eager")
    y, z = compiled(*inputs), f(*inputs)[0].sum()
    assert torch.allclose(y, z, rtol=1e-14)
    g, h = (torch.autograd.grad(x, inputs[:1])[0] for x in (y, z))
    assert torch.allclose(g, h, rtol=1e-14)


def test_autocast_does_not_reach_a_kernel():
    inputs, f = attention()
    inputs = [x.float() for x in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = f(*inputs)[0]
    assert torch.equal(y, f(*inputs)[0]) and y.dtype == torch.float32
