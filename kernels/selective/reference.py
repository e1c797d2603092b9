"""The selective scan one step at a time; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

from dsf.core.ops import exp
from dsf.kernels.arrays import stack


def forward(x: Any, delta: Any, A: Any, B: Any, C: Any, h: Any) -> tuple[Any, Any]:
    """h_t = exp(delta_t A) h_{t-1} + x_t B_t',   y_t = h_t C_t.

    x, delta [N L D], A [N D S], B, C [N L S], h [N D S]; returns y [N L D] and the last h.
    """
    rows = []
    for t in range(x.shape[1]):
        h = exp(delta[:, t, :, None] * A) * h + x[:, t, :, None] * B[:, t, None, :]
        rows.append((h @ C[:, t, :, None])[..., 0])
    return stack(rows, x), h
