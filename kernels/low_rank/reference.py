"""A diagonal plus rank-one transition, one step at a time; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

from dsf.kernels.arrays import stack


def forward(
    q: Any, k: Any, v: Any, w: Any, a: Any, b: Any, S: Any, scale: float, substeps: float
) -> tuple[Any, Any]:
    """S_t = diag(w_t) S_{t-1} + b_t (a_t' S_{t-1}) + k_t v_t',   y = scale S' q after `substeps`.

    q [B L H K]; k, w, a, b [B sL H K], v [B sL H V] with s = substeps; S [B H K V]; returns
    y [B L H V] and the last S.
    """
    rows, s = [], int(substeps)
    for t in range(k.shape[1]):
        seen = a[:, t, :, None, :] @ S
        S = w[:, t, :, :, None] * S + b[:, t, :, :, None] * seen
        S = S + k[:, t, :, :, None] * v[:, t, :, None, :]
        if t % s == s - 1:
            rows.append(scale * (q[:, t // s, :, None, :] @ S)[:, :, 0])
    return stack(rows, v), S
