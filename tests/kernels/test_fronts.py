"""The public kernels: shapes, dtypes, backends, widths of vectors, and what is refused."""

from __future__ import annotations

import cases
import numpy as np
import pytest

from dsf import kernels
from dsf.core.errors import DTypeError, KernelError, ShapeError
from dsf.core.metrics import gate, ratio

pytest.importorskip("numba")


def drawn(*lead: int, L: int = 6, H: int = 2, K: int = 3, V: int = 4):
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, *lead, L, H, K))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    return q, k, rng.standard_normal((*lead, L, H, V)), -rng.uniform(0, 1, (*lead, L, H))


WIDTHS = [
    (simd, name)
    for simd in ("avx512", "avx2", "none")
    for name in (
        "linear",
        "linear before",
        "delta",
        "delta channels",
        "low_rank substeps",
        "selective",
    )
]


@pytest.mark.parametrize(
    ("simd", "name"),
    [
        pytest.param(*x, marks=pytest.mark.slow) if x[0] == "none" and x[1] != "linear" else x
        for x in WIDTHS
    ],
)
def test_every_width_of_vectors(name, simd, monkeypatch):
    monkeypatch.setenv("DSF_SIMD", simd)
    structure, arrays, numbers = cases.case(name, L=7, V=9)
    found, wanted = (
        kernels.dispatch.run(structure, arrays, numbers, backend)
        for backend in ("numba", "reference")
    )
    for x, y in zip(found, wanted, strict=True):
        assert ratio(x, y, 8 * np.abs(y).max()) <= gate(7)


def test_an_unknown_width(monkeypatch):
    monkeypatch.setenv("DSF_SIMD", "sse")
    with pytest.raises(KernelError, match="avx512, avx2, none"):
        kernels.linear_attention(*drawn()[:3])


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_the_delta_rule_as_it_is_written(lead):
    q, k, v, g = drawn(*lead)
    beta = np.full(g.shape, 0.7)
    S, rows = np.zeros((*lead, 2, 3, 4)), []
    for t in range(6):
        a, x, b = k[..., t, :, :, None], v[..., t, :, None, :], beta[..., t, :, None, None]
        S = np.exp(g[..., t, :, None, None]) * S
        S = S + b * a * (x - np.swapaxes(a, -1, -2) @ S)
        rows.append(0.5 * (q[..., t, :, None, :] @ S)[..., 0, :])
    y, last = kernels.delta_rule(q, k, v, beta, g, scale=0.5)
    assert np.allclose(y, np.stack(rows, -3), rtol=1e-12, atol=1e-13)
    assert np.allclose(last, S, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_the_selective_scan_as_it_is_written(lead):
    rng = np.random.default_rng(0)
    u, (B, C) = rng.standard_normal((*lead, 6, 5)), rng.standard_normal((2, *lead, 6, 3))
    delta, A = rng.uniform(0.01, 2, u.shape), -rng.uniform(0.1, 2, (5, 3))
    D, h0 = rng.standard_normal(5), rng.standard_normal((*lead, 5, 3))
    h, rows = h0, []
    for t in range(6):
        step = delta[..., t, :, None]
        h = np.exp(step * A) * h + step * u[..., t, :, None] * B[..., t, None, :]
        rows.append((h * C[..., t, None, :]).sum(-1) + D * u[..., t, :])
    y, last = kernels.selective_scan(u, delta, A, B, C, D, h0)
    assert np.allclose(y, np.stack(rows, -2), rtol=1e-12, atol=1e-13)
    assert np.allclose(last, h, rtol=1e-12, atol=1e-13)


def test_half_precision_is_computed_in_float32():
    q, k, v, g = (x.astype(np.float16) for x in drawn(L=40))
    y, S = kernels.linear_attention(q, k, v, g)
    exact, _ = kernels.linear_attention(*(x.astype(np.float64) for x in (q, k, v, g)))
    assert y.dtype == np.float16 and S.dtype == np.float32
    assert kernels.linear_attention(q, k, v, g, S)[0].dtype == np.float16
    assert kernels.linear_attention(q, k, v, g.astype(np.float32))[0].dtype == np.float16
    assert kernels.linear_attention(q, k, v.astype(np.float32), g)[0].dtype == np.float32
    assert np.abs(y - exact).max() <= 1e-3 * np.abs(exact).max()


def test_what_is_refused():
    q, k, v, g = drawn()
    with pytest.raises(KernelError, match="backend='cuda' is unknown"):
        kernels.linear_attention(q, k, v, backend="cuda")
    with pytest.raises(KernelError, match="backend='triton' cannot run"):
        kernels.linear_attention(q, k, v, backend="triton")
    with pytest.raises(ShapeError, match=r"k must be \[... L H K\]"):
        kernels.linear_attention(q, k[:-1], v)
    with pytest.raises(ShapeError, match="a bonus needs 'before'"):
        kernels.linear_attention(q, k, v, bonus=k[0])
    with pytest.raises(ShapeError, match=r"bonus must be \[H K\]"):
        kernels.linear_attention(q, k, v, bonus=k, read="before")
    with pytest.raises(ShapeError, match="3 rows for each of the 6"):
        kernels.delta_rule(q, k, v, g, substeps=3)
    with pytest.raises(ShapeError, match="need causal=True"):
        kernels.softmax_attention(q, k, v, causal=False, log_forget=g)
    with pytest.raises(DTypeError, match="k must hold numbers; got dtype bool"):
        kernels.linear_attention(q, k > 0, v)
    torch = pytest.importorskip("torch")
    with pytest.raises(KernelError, match="no torch kernel is connected"):
        kernels.linear_attention(*map(torch.tensor, (q, k, v)), backend="torch")
    with pytest.raises(DTypeError, match="mixed"):
        kernels.linear_attention(torch.tensor(q), k, v, g)
