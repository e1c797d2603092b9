"""The kernels as operators of torch: derivatives, transforms, compiled graphs."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from dsf import kernels
from dsf.core.errors import KernelError
from dsf.core.metrics import gate, ratio

torch = pytest.importorskip("torch")
pytest.importorskip("numba")
import cases  # noqa: E402

from dsf.kernels import backends, differentiable  # noqa: E402

EVERY = pytest.mark.parametrize("name", cases.EVERY)


def tensors(arrays, dtype=torch.float64):
    return [torch.tensor(x, dtype=dtype, requires_grad=True) for x in arrays]


def gradients(structure, backend, arrays, numbers, dy, dS):
    y, S = differentiable.run(structure, backend, arrays, numbers)
    return torch.autograd.grad((y * dy).sum() + (S * dS).sum(), arrays)


def equal_gradients(structure, arrays, numbers, L, dtype=torch.float64):
    rng = np.random.default_rng(1)
    inputs = tensors(arrays, dtype)
    exact = tensors([x.detach().numpy() for x in inputs])
    y, S = differentiable.run(structure, "reference", exact, numbers)
    dy, dS = (torch.tensor(rng.standard_normal(x.shape)) for x in (y, S))
    wanted = gradients(structure, "reference", exact, numbers, dy, dS)
    found = gradients(structure, "numba", inputs, numbers, dy.to(dtype), dS.to(dtype))
    terms = cases.logits(arrays, numbers) if structure in ("softmax", "local_linear") else 1.0
    for x, g in zip(found, wanted, strict=True):
        assert x.dtype == dtype
        assert ratio(x, g, terms * float(g.abs().max()) + 0 * g) <= gate(L)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("L", "K", "V"),
    [(1, 4, 5), (2, 4, 5), (63, 4, 5), (65, 4, 5), (70, 83, 18), (70, 6, 131), (3, 1, 2)],
)
def test_gradients(name, dtype, L, K, V):
    """Also over several chunks of time, and states wider than what one sweep or thread takes."""
    equal_gradients(*cases.case(name, L, B=1, H=2, K=K, V=V), L, dtype)


@pytest.mark.parametrize(
    "name", ["linear", "linear before", "delta", "low_rank", "low_rank substeps"]
)
def test_gradients_of_many_heads(name):
    """More heads than take turns, and chunks of time with one on either side."""
    equal_gradients(*cases.case(name, L=140, B=3, H=3, K=3, V=2), 140)


@pytest.mark.parametrize("name", ["linear", "delta", "low_rank"])
def test_gradients_of_one_head(name):
    """Whose columns are shared among threads, each of which keeps its own."""
    equal_gradients(*cases.case(name, L=70, B=1, H=1, K=6, V=131), 70)


@pytest.mark.parametrize("name", ["linear", "linear before"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_of_decays_at_the_ends(name, dtype):
    """Closed, open and nearly closed gates beside each other: nothing is divided by them."""
    structure, arrays, numbers = cases.case(name, L=70, B=1, H=2, K=3, V=5)
    ends = np.array([0.0, 1.0, 1e-30, 0.7, 1e-7])
    arrays[3] = np.random.default_rng(0).choice(ends, arrays[3].shape)
    equal_gradients(structure, arrays, numbers, 70, dtype)


@pytest.mark.parametrize(("B", "V"), [(1, 650), (2, 150)])
def test_gradients_of_many_channels(B, V):
    """Several blocks of channels in one group, and groups of unequal size."""
    equal_gradients(*cases.case("selective", 9, B, K=3, V=V), 9)


@pytest.mark.parametrize(
    "name",
    [
        "linear",
        "delta",
        "delta channels",
        "low_rank substeps",
        "diagonal",
        "selective",
        "softmax",
        "local_linear",
    ],
)
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


def test_views_that_are_conjugated_or_negated():
    """Marks on a tensor, which its memory does not show."""
    a, b = torch.randn(2, 5, 3, dtype=torch.complex128).unbind()
    for x in (a.conj(), a.conj().imag):
        assert x.is_conj() or x.is_neg()
        found, wanted = kernels.scan(x, b), kernels.scan(x.clone() + 0, b)
        assert all(map(torch.equal, found, wanted))


@EVERY
def test_the_operators_are_what_torch_wants(name):
    structure, arrays, numbers = cases.case(name, L=3)
    inputs = [x.detach() for x in tensors(arrays)]
    tests = ("test_schema", "test_faketensor")
    for keep in (False, True):
        args = (structure, "numba", inputs, numbers, keep)
        torch.library.opcheck(torch.ops.dsf.kernel.default, args, test_utils=tests)
    y, S, *more = torch.ops.dsf.kernel(*args)
    outputs = list(backends.kept(structure, (y, S, *more)))
    args = (structure, "numba", inputs, outputs, numbers, y, S)
    torch.library.opcheck(torch.ops.dsf.kernel_backward.default, args, test_utils=tests)


@EVERY
def test_gradients_of_one_output(name):
    """The other one has none: torch gives no zeros for it."""
    structure, arrays, numbers = cases.case(name, L=5)
    scale = cases.logits(arrays, numbers) if structure in ("softmax", "local_linear") else 1.0
    for i in range(1 if structure in ("softmax", "local_linear") else 2):
        found, wanted = (
            torch.autograd.grad(
                differentiable.run(structure, backend, inputs, numbers)[i].sum(), inputs,
                allow_unused=True, materialize_grads=True,
            )
            for backend in ("numba", "reference")
            for inputs in [tensors(arrays)]
        )  # fmt: skip
        for x, g in zip(found, wanted, strict=True):
            assert ratio(x, g, scale * float(g.abs().max()) + 0 * g + 1e-300) <= gate(5)


@pytest.mark.parametrize("name", ["linear", "delta", "low_rank", "selective"])
def test_nothing_is_kept_where_no_gradients_follow(name, monkeypatch):
    structure, arrays, numbers = cases.case(name, L=3)
    kernel, asked = backends.module(structure, "numba"), []
    forward, given = kernel.forward, len(arrays) + len(numbers)
    monkeypatch.setattr(kernel, "forward", lambda *x: asked.append(x[given:]) or forward(*x))
    inputs = tensors(arrays)
    differentiable.run(structure, "numba", [x.detach() for x in inputs], numbers)
    with torch.no_grad():
        differentiable.run(structure, "numba", inputs, numbers)
    differentiable.run(structure, "numba", inputs, numbers)
    assert asked == [(), (), (True,)]


@EVERY
def test_what_is_kept_changes_no_bit(name):
    structure, arrays, numbers = cases.case(name, L=70)
    plain = backends.module(structure, "numba").forward(*arrays, *numbers)
    assert all(map(np.array_equal, plain, cases.training(structure, arrays, numbers)[0]))


# --------------------------------------------------------------------- transforms
def attention(**options):
    _, (q, k, v, w, S), _ = cases.case("linear", L=5)
    inputs = [torch.tensor(x) for x in (q, k, v, np.log(w), S)]
    return inputs, lambda *x: kernels.linear_attention(*x, **options)[0]


def delta(**options):
    _, (q, k, v, beta, w, S), _ = cases.case("delta", L=5)
    inputs = [torch.tensor(x) for x in (q, k, v, beta, np.log(w[..., 0]), S)]
    return inputs, lambda *x: kernels.delta_rule(*x, **options)[0]


def softmax(**options):
    _, (q, k, v, bias, forget, sink), _ = cases.case("softmax", L=5)
    inputs = [torch.tensor(x) for x in (q, k, v, bias, forget, sink[0])]

    def run(q, k, v, bias, forget, sink):
        return kernels.softmax_attention(
            q, k, v, bias, log_forget=forget, sink=sink, window=3, **options
        )

    return inputs, run


def local_linear(**options):
    _, arrays, _ = cases.case("local_linear", L=5)
    return list(map(torch.tensor, arrays)), lambda *x: kernels.local_linear_attention(*x, **options)


EACH = pytest.mark.parametrize("drawn", [attention, delta, softmax, local_linear])


@EACH
def test_vmap(drawn):
    inputs, f = drawn()
    many = torch.stack([inputs[0], 2 * inputs[0]], 1)
    y = torch.vmap(lambda q: f(q, *inputs[1:]), in_dims=1, out_dims=1)(many)
    assert torch.allclose(y[:, 1], f(2 * inputs[0], *inputs[1:]), rtol=1e-13)


@EACH
def test_derivatives_of_examples_apart(drawn):
    inputs, f = drawn()
    shared = 1 if drawn is softmax else 0  # the sink, which has no batch axis
    rows, rest = inputs[: len(inputs) - shared], inputs[len(inputs) - shared :]

    def one(*x):
        return f(*[z[None] for z in x], *rest).square().sum()

    apart = torch.vmap(torch.func.grad(one))(*rows)
    inputs[0].requires_grad_()
    (whole,) = torch.autograd.grad(f(*inputs).square().sum(), inputs[:1])
    assert torch.allclose(apart, whole, rtol=1e-12)


@EACH
def test_gradients_through_vmap(drawn):
    """The transform that differentiates stands outside, or a leaf is differentiated."""
    inputs, f = drawn()
    many = torch.stack([inputs[0], 2 * inputs[0]])

    def loss(many):
        return torch.vmap(lambda q: f(q, *inputs[1:]))(many).square().sum()

    leaf = many.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf), leaf)
    for q, g in zip(many, found, strict=True):
        q.requires_grad_()
        (wanted,) = torch.autograd.grad(f(q, *inputs[1:]).square().sum(), q)
        assert torch.allclose(g, wanted, rtol=1e-12)
    assert torch.allclose(torch.func.grad(loss)(many.detach()), found, rtol=1e-12)


@EACH
def test_jacobian(drawn):
    inputs, f = drawn()
    _, slow = drawn(backend="reference")
    J = torch.func.jacrev(lambda q: f(q, *inputs[1:]))(inputs[0])
    wanted = torch.autograd.functional.jacobian(lambda q: slow(q, *inputs[1:]), inputs[0])
    assert torch.allclose(J, wanted, rtol=1e-12, atol=1e-14)


@EACH
def test_forward_mode_and_second_derivatives_are_refused_never_zero(drawn):
    inputs, f = drawn()
    with pytest.raises((NotImplementedError, RuntimeError), match="jvp"):
        torch.func.jvp(lambda q: f(q, *inputs[1:]), inputs[:1], inputs[:1])
    with pytest.raises(KernelError, match="first derivatives only"):
        torch.func.jacrev(torch.func.grad(lambda q: f(q, *inputs[1:]).sum()))(inputs[0])
    inputs[0].requires_grad_()
    y = f(*inputs).square().sum()
    (g,) = torch.autograd.grad(y, inputs[:1], create_graph=True)
    with pytest.raises(KernelError, match="first derivatives only"):
        g.sum().backward()


@EACH
def test_second_derivatives_of_the_reference(drawn):
    (q, *rest), f = drawn(backend="reference")
    assert torch.func.hessian(lambda q: f(q, *rest).square().sum())(q).abs().max() > 0.01


@EACH
def test_compiled_graphs(drawn):
    inputs, f = drawn()
    inputs[0].requires_grad_()
    compiled = torch.compile(lambda *x: f(*x).sum(), fullgraph=True, backend="aot_eager")
    y, z = compiled(*inputs), f(*inputs).sum()
    assert torch.allclose(y, z, rtol=1e-14)
    g, h = (torch.autograd.grad(x, inputs[:1])[0] for x in (y, z))
    assert torch.allclose(g, h, rtol=1e-14)


@EACH
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(drawn, reentrant):
    """Which run forward again before the gradients."""
    inputs, f = drawn()
    q = inputs[0].requires_grad_()
    y = torch.utils.checkpoint.checkpoint(f, *inputs, use_reentrant=reentrant)
    y.square().sum().backward()
    (wanted,) = torch.autograd.grad(f(*inputs).square().sum(), q)
    assert torch.equal(q.grad, wanted)


@EACH
def test_autocast_does_not_reach_a_kernel(drawn):
    inputs, f = drawn()
    inputs = [x.float() for x in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = f(*inputs)
    assert torch.equal(y, f(*inputs)) and y.dtype == torch.float32


def test_a_kernel_leaves_the_number_of_torchs_threads_alone():
    """Numba's pool would set it, where both use one OpenMP; in a process where none was started."""
    code = """
import numpy as np, torch
from dsf import kernels
before = torch.get_num_threads()
kernels.scan(np.ones((1, 2000, 200)), np.ones((1, 2000, 200)))
print(before, torch.get_num_threads())
"""
    env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"], done.stderr
