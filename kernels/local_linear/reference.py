"""Local linear attention one query at a time, as the formula reads; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import IllConditionedError
from dsf.kernels.arrays import stack


def forward(
    q: Any, k: Any, v: Any, scale: float, ridge: float, by_mass: float, causal: float
) -> tuple[Any, Any]:
    """y_i = sum_j p_ij (1 - (k_j - kb_i)'r_i) v_j,    (C_i + lam_i I) r_i = kb_i - q_i

    with p_ij = e^{scale q_i'k_j} / omega_i, omega_i their sum, kb_i = sum_j p_ij k_j the mean key,
    C_i = sum_j p_ij (k_j - kb_i)(k_j - kb_i)', lam_i = ridge (`by_mass`) or ridge / omega_i, over
    the keys j that i looks at.  q [B M H K], k [B N G K], v [B N G V].  Returns y [B M H V] and
    log omega [B M H].  A row with nothing to look at gives 0 and -inf.
    """
    (B, M, H, K), (N, G) = q.shape, k.shape[1:3]
    heads = [h * G // H for h in range(H)]
    k, v = ops.moveaxis(k[:, :, heads], 1, 2), ops.moveaxis(v[:, :, heads], 1, 2)  # [B H N .]
    rows, sums = [], []
    for i in range(M):
        stop = max(min(i + 1 + N - M, N), 0) if causal else N
        if not stop:
            rows.append(ops.zeros((B, H, v.shape[-1]), v))
            sums.append(ops.zeros((B, H), v) - float("inf"))
            continue
        keys, values, at = k[:, :, :stop], v[:, :, :stop], q[:, i]
        s = scale * (at[:, :, None] * keys).sum(-1)  # [B H n]
        top = _top(s)
        e = ops.exp(s - top)
        total = e.sum(-1)[..., None]
        log_total = ops.log(total) + top
        p = (e / total)[..., None]
        mean = (p * keys).sum(2)
        away = keys - mean[:, :, None]
        C = ops.mT(p * away) @ away
        lam = ridge if by_mass else ridge * ops.exp(-log_total[..., None])
        r = _solve(C + lam * ops.eye(K, q), mean - at, i)
        w = p * (1 - (away * r[:, :, None]).sum(-1)[..., None])
        rows.append((w * values).sum(2))
        sums.append(log_total[..., 0])
    like = ops.zeros((B, M, H, v.shape[-1]), v)
    return stack(rows, like), stack(sums, like.sum(-1))


def _top(s: Any) -> Any:
    """The largest logit of each row [B H 1]."""
    return s.detach().amax(-1, True) if ops.is_torch(s) else s.max(-1, keepdims=True)


def _solve(A: Any, b: Any, query: int) -> Any:
    """A^-1 b of symmetric A [B H K K]; refused where the rounding of A may make it singular."""
    if ops.readable(A):
        found = A.detach().cpu().numpy() if ops.is_torch(A) else A
        fine = np.isfinite(found).all((-2, -1))
        e = np.linalg.eigvalsh(np.where(fine[..., None, None], found, np.eye(A.shape[-1])))
        lost = e[..., 0] <= A.shape[-1] * np.finfo(found.dtype).eps * e[..., -1]
        if lost.any():
            batch, head = np.argwhere(lost)[0]
            raise undetermined(int(lost.sum()), int(batch), query, int(head))
    if ops.is_torch(A):
        import torch

        x = torch.linalg.solve(A, b[..., None])
    else:
        x = np.linalg.solve(A, b[..., None])
    return x[..., 0]


def undetermined(count: int, batch: int, query: int, head: int) -> IllConditionedError:
    """The error that names the first of the queries whose fit is not determined."""
    return IllConditionedError(
        f"local_linear_attention: the slope at query {query}, head {head}, batch {batch} is not "
        f"determined, nor are {count - 1} others: the matrix C + lam I is singular to rounding. "
        "Likely cause: a ridge of 0 or near it with fewer keys than dimensions (the first queries "
        "of a causal call), or with keys in a plane. Raise the ridge."
    )
