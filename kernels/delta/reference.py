"""The delta rule one step at a time, as the formula reads; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

from dsf.kernels.arrays import stack


def forward(q: Any, k: Any, v: Any, beta: Any, w: Any, S: Any, scale: float) -> tuple[Any, Any]:
    """S <- diag(w_t) S,   S_t = S + k_t (beta_t (v_t - S'k_t))',   y_t = scale S_t' q_t.

    q, k [B L H K], v [B L H V], beta [B L H], w [B L H K] or [B L H 1], S [B H K V]; returns
    y [B L H V] and the last S.
    """
    rows = []
    for t in range(q.shape[1]):
        S = w[:, t, :, :, None] * S
        written = beta[:, t, :, None] * (v[:, t] - (k[:, t, :, None, :] @ S)[:, :, 0])
        S = S + k[:, t, :, :, None] * written[:, :, None, :]
        rows.append(scale * (q[:, t, :, None, :] @ S)[:, :, 0])
    return stack(rows, v), S
