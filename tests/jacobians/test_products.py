"""Products with a Jacobian are those with the matrix that torch makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dsf.core.errors import NonFiniteError, ShapeError, TooLargeError
from dsf.jacobians.products import Products

L, D = 5, 4
torch.manual_seed(0)
RECURRENT = nn.LSTM(D, 3, batch_first=True, dtype=torch.float64)
MIX = torch.randn(L, L, dtype=torch.float64)


def attention(u):
    q = u[None, None]
    return functional.scaled_dot_product_attention(q, q.sin(), q, is_causal=True)[0, 0]


MAPS = {
    "attention": attention,
    "recurrent": lambda u: RECURRENT(u[None])[0][0],
    "linear": lambda u: MIX @ u,
    "constant": lambda u: torch.ones(L, 2, dtype=torch.float64),
    "detached": lambda u: u.detach() * u,
}


def sequence():
    return torch.randn(L, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", MAPS)
def test_products(name):
    f, u = MAPS[name], sequence()
    found = Products(f, u)
    M = torch.autograd.functional.jacobian(f, u).numpy()
    rng = np.random.default_rng(2)
    _, r, _, d = found.shape
    X, W = rng.standard_normal((L, d, 2)), rng.standard_normal((L, r, 3))
    U, V = rng.standard_normal((r, 2)), rng.standard_normal((d, 3))
    assert np.allclose(found.kernel(), M, atol=1e-13)
    assert np.allclose(found.times(X), np.einsum("icjd,jdk->ick", M, X), atol=1e-12)
    assert np.allclose(found.adjoint(W), np.einsum("icjd,ick->jdk", M, W), atol=1e-12)
    wanted = np.einsum("icjd,cs,dt->isjt", M, U, V)
    assert np.allclose(found.between(U, V), wanted, atol=1e-12)


def test_a_map_in_inference_mode_is_differentiated_too():
    with torch.inference_mode():
        found = Products(torch.tanh, torch.ones(3, 1)).kernel()
    assert np.allclose(np.diagonal(found[:, 0, :, 0]), 1 - np.tanh(1) ** 2)


def test_what_is_refused():
    with pytest.raises(ShapeError, match="as many tokens"):
        Products(lambda u: u[:2], sequence())
    found = Products(torch.sqrt, torch.zeros(2, 1))
    with pytest.raises(NonFiniteError, match="infinity"):
        found.kernel()
    with pytest.raises(ShapeError, match="U \\[1 s\\]"):
        found.between(np.ones((2, 1)), np.ones((1, 1)))
    with pytest.raises(ShapeError, match=r"columns \[2 1 k\]"):
        found.times(np.ones((2, 1)))


def test_a_kernel_that_is_too_large_is_not_begun():
    wide = Products(lambda u: u * u, torch.ones(1000, 64))
    with pytest.raises(TooLargeError, match="directions"):
        wide.kernel()
    assert wide.between(np.eye(64)[:, :1], np.eye(64)[:, :1]).shape == (1000, 1, 1000, 1)
