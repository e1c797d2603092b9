"""What a user of torch or scipy would write for the operators of `dsf.kernels`, in its best forms.

Chunked forms use matrix products and only exponents that are not positive.  Other kernels for a CPU
exist in C++, for inference, without gradients and float64: ggml, which `benchmarks/installed.py`
runs beside public torch code, its fork ik_llama.cpp, and those of SGLang and vLLM (bfloat16), which
are not measured.  Layouts are
those of the fronts, with one sequence (B = 1).
"""

from __future__ import annotations

from typing import Any

import torch
from scipy.signal import lfilter
from torch.nn.functional import scaled_dot_product_attention


def _heads_first(*xs: Any) -> list[Any]:
    """[1 L H ...] as [H L ...]."""
    return [x[0].movedim(1, 0) for x in xs]


def _between(sums: Any, *, strict: bool) -> Any:
    """exp(sums_i - sums_j) for j <= i (j < i), else 0; sums [... C]."""
    C = sums.shape[-1]
    mask = torch.ones(C, C, dtype=torch.bool).tril(-1 if strict else 0)
    return (sums[..., :, None] - sums[..., None, :]).masked_fill(~mask, -torch.inf).exp()


def chunked_linear(q: Any, k: Any, v: Any, g: Any, chunk: int) -> Any:
    """Linear attention with a scalar decay: products inside chunks, the state between them."""
    q, k, v, g = _heads_first(q, k, v, g)
    S, rows = q.new_zeros(q.shape[0], q.shape[-1], v.shape[-1]), []
    for a, b, c, d in zip(*(x.split(chunk, 1) for x in (q, k, v, g)), strict=True):
        sums = d.cumsum(-1)
        D = _between(sums, strict=False)
        rows.append((a @ b.mT * D) @ c + (a * sums.exp()[..., None]) @ S)
        keep = (sums[:, -1:] - sums).exp()[..., None]
        S = sums[:, -1, None, None].exp() * S + (b * keep).mT @ c
    return torch.cat(rows, 1).movedim(0, 1)[None]


def chunked_delta(q: Any, k: Any, v: Any, beta: Any, g: Any, chunk: int) -> Any:
    """The gated delta rule in its WY form; everything but the walk of the state is batched."""
    q, k, v, beta, g = _heads_first(q, k, v, beta[..., None], g)
    H, L, K = q.shape
    pad = -L % chunk
    q, k, v, beta = (
        torch.nn.functional.pad(x, (0, 0, 0, pad)).reshape(H, -1, chunk, x.shape[-1])
        for x in (q, k, v, beta)
    )
    sums = torch.nn.functional.pad(g, (0, pad)).reshape(H, -1, chunk).cumsum(-1)
    inward = sums.exp()[..., None]
    M = beta * (k @ k.mT) * _between(sums, strict=True)
    right = torch.cat([beta * v, beta * inward * k], -1)
    solved = torch.linalg.solve_triangular(
        M + torch.eye(chunk, dtype=M.dtype), right, upper=False, unitriangular=True
    )
    U, W = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]
    inner, reading = q @ k.mT * _between(sums, strict=False), q * inward
    outward = (k * (sums[..., -1:] - sums).exp()[..., None]).mT
    S, rows = q.new_zeros(H, K, v.shape[-1]), []
    for c in range(q.shape[1]):
        new = U[:, c] - W[:, c] @ S
        rows.append(reading[:, c] @ S + inner[:, c] @ new)
        S = sums[:, c, -1, None, None].exp() * S + outward[:, c] @ new
    return torch.cat(rows, 1)[:, :L].movedim(0, 1)[None]


def delta_steps(q: Any, k: Any, v: Any, beta: Any, g: Any) -> Any:
    """The gated delta rule, one token after the other."""
    S, rows = q.new_zeros(q.shape[2], q.shape[3], v.shape[3]), []
    for t in range(q.shape[1]):
        a, b, c = q[0, t], k[0, t], v[0, t]
        S = g[0, t, :, None, None].exp() * S
        change = beta[0, t, :, None] * (c - (b[:, None] @ S)[:, 0])
        S = S + b[..., None] * change[:, None]
        rows.append((a[:, None] @ S)[:, 0])
    return torch.stack(rows)[None]


def selective_steps(u: Any, delta: Any, A: Any, B: Any, C: Any) -> Any:
    """The selective scan, one token after the other."""
    h, rows = u.new_zeros(A.shape), []
    for t in range(u.shape[1]):
        d = delta[0, t, :, None]
        h = (d * A).exp() * h + d * u[0, t, :, None] * B[0, t]
        rows.append(h @ C[0, t])
    return torch.stack(rows)[None]


def doubling(a: Any, b: Any) -> Any:
    """h_t = a_t h_{t-1} + b_t along the first axis, in log2 L passes over everything."""
    step = 1
    while step < a.shape[0]:
        b = torch.cat([b[:step], torch.addcmul(b[step:], a[step:], b[:-step])])
        a = torch.cat([a[:step], a[step:] * a[:-step]])
        step *= 2
    return b


def filtered(a: Any, b: Any) -> Any:
    """The diagonal scan with constant coefficients of one value, by scipy."""
    return lfilter([1.0], [1.0, -float(a[0, 0, 0])], b, axis=1)


def dense_local_linear(q: Any, k: Any, v: Any, ridge: float = 10.0) -> Any:
    """Causal local linear attention by its formula: all weights, and a K x K system for each query.

    One product with all weights gives the second moments of the keys; memory is L L + L K K.
    """
    q, k, v = _heads_first(q, k, v)
    L, K = q.shape[1:]
    later = torch.ones(L, L, dtype=torch.bool).triu(1)
    eye, rows = torch.eye(K, dtype=q.dtype), []
    for a, b, c in zip(q, k, v, strict=True):
        p = (a @ b.T * K**-0.5).masked_fill(later, -torch.inf).softmax(-1)
        mean, pairs = p @ b, (b[:, :, None] * b[:, None, :]).flatten(1)
        C = (p @ pairs).unflatten(1, (K, K)) - mean[:, :, None] * mean[:, None, :]
        r = torch.linalg.solve(C + ridge * eye, mean - a)
        rows.append(p * (1 - (r @ b.T - (r * mean).sum(-1, keepdim=True))) @ c)
    return torch.stack(rows, 1)[None]


def attention(q: Any, k: Any, v: Any) -> Any:
    """Causal softmax attention by torch's own kernel."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
