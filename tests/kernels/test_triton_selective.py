"""The selective scan in Triton, under its interpreter, against the float64 recurrence."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("runs in a process of its own: test_triton.py", allow_module_level=True)

from dsf.kernels.selective import triton as kernels

EPS = {torch.float64: 2.2e-16, torch.float32: 1.2e-7, torch.float16: 9.8e-4}
NAMES = ["du", "ddelta", "dA", "dB", "dC", "dD", "dh"]


def recurrence(u, delta, A, B, C, D, h, a=None):
    """The oracle; `a`: the decays, where they are not exp(delta A)."""
    y = []
    for t in range(u.shape[1]):
        step = (delta[:, t, :, None] * A).exp() if a is None else a[:, t]
        h = step * h + (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        y.append((h * C[:, t, None]).sum(-1) + (0 if D is None else D * u[:, t]))
    return (torch.stack(y, 1) if y else torch.zeros_like(u)), h


def draw(L, D, N, dtype, skip=True, batch=2):
    gen = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    # Logarithms of decays of about one: what is measured is the scan, not the rounding of delta A.
    inputs = [normal(batch, L, D), normal(batch, L, D).abs(), -normal(D, N).abs()]
    inputs += [normal(batch, L, N), normal(batch, L, N), normal(D) if skip else None]
    return [*inputs, normal(batch, D, N)], (normal(batch, L, D), normal(batch, D, N))


def differentiate(inputs, dy, dlast, plain):
    """Gradients by autograd; not `plain`: sums of absolute values, which bound rounding errors.

    The logarithm delta A enters the bound through |delta| and |A|, the decay exp(delta A) as it is.
    """
    leaves = [None if x is None else x.double().requires_grad_() for x in inputs]
    if plain:
        y, last = recurrence(*leaves)
    else:
        leaves = [None if x is None else x.detach().abs().requires_grad_() for x in leaves]
        delta, A = leaves[1], inputs[2].double()
        # Its value is exp(delta A), its derivatives by delta and A are made positive.
        log = delta[..., None] * leaves[2]
        a = (delta[..., None] * A).exp().detach() * (1 + log - log.detach())
        y, last = recurrence(*leaves, a)
    loss = (y * dy).sum() + (last * dlast).sum()
    present = [x for x in leaves if x is not None]
    found = iter(torch.autograd.grad(loss, present, allow_unused=True))
    found = [None if x is None else next(found) for x in leaves]
    zero = [x is not None and f is None for x, f in zip(leaves, found, strict=True)]
    found = [torch.zeros_like(x) if z else f for x, f, z in zip(leaves, found, zero, strict=True)]
    return y.detach(), last.detach(), found


def check(inputs, grads, dtype):
    """Outputs, last state and gradients within the gate 4 + sqrt(L) of the scaled error."""
    dy, dlast = (x.double() for x in grads)
    y, last, want = differentiate(inputs, dy, dlast, True)
    most_y, most_last, most = differentiate(inputs, dy.abs(), dlast.abs(), False)
    got_y, got_last = kernels.forward(*inputs)
    got = kernels.backward(*inputs, 1.0, *grads)
    L = inputs[0].shape[1]
    pairs = [("y", got_y, y, most_y), ("h", got_last, last, most_last)]
    pairs += zip(NAMES, got, want, most, strict=True)
    found = {}
    for name, a, b, bound in pairs:
        assert (a is None) == (b is None), name
        if a is not None and b.numel():
            assert a.shape == b.shape and a.isfinite().all(), name
            unit = EPS[dtype] * bound + torch.finfo(dtype).tiny
            found[name] = ((a.double() - b).abs() / unit).max().item()
    # dA, dD sum over batch and time: as long as the sums are.
    limits = {n: 4 + (2 * L if n in ("dA", "dD") else L) ** 0.5 for n in found}
    above = {n: (r, limits[n]) for n, r in found.items() if not r <= limits[n]}
    assert not above, above
    return found


@pytest.mark.parametrize("L", [0, 1, 63, 130])
def test_equals_the_recurrence(L):
    check(*draw(L, 5, 4, torch.float32), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=["f64", "f16"])
def test_other_dtypes(dtype):
    check(*draw(20, 40, 16, dtype, skip=False, batch=1), dtype)


def test_the_states_kept_for_the_gradients_are_bounded(monkeypatch):
    inputs, grads = draw(140, 3, 2, torch.float32, batch=1)
    want = kernels.backward(*inputs, 1.0, *grads)
    monkeypatch.setattr(kernels, "WORK", 1)  # one segment at a time
    got = kernels.backward(*inputs, 1.0, *grads)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_closed_and_open_gates():
    inputs, grads = draw(20, 3, 2, torch.float32)
    inputs[1][:, ::3] = 0  # nothing enters, nothing decays
    inputs[1][:, 1] = 1e4  # all is forgotten
    check(inputs, grads, torch.float32)
