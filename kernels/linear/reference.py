"""Linear attention one step at a time, as the formula reads; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

from dsf.kernels.arrays import stack


def forward(q: Any, k: Any, v: Any, w: Any, S: Any, scale: float, before: bool) -> tuple[Any, Any]:
    """S_t = w_t S_{t-1} + k_t v_t',   y_t = scale S_t' q_t   (S_{t-1} with `before`).

    q, k [B L H K], w [B L H K] or [B L H 1], v [B L H V], S [B H K V]; returns y [B L H V] and the
    last S.
    """
    rows = []
    for t in range(q.shape[1]):
        new = w[:, t, :, :, None] * S + k[:, t, :, :, None] * v[:, t, :, None, :]
        rows.append(scale * (q[:, t, :, None, :] @ (S if before else new))[:, :, 0])
        S = new
    return stack(rows, v), S
