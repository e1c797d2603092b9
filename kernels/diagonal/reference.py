"""The diagonal scan one step at a time; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

from dsf.kernels.arrays import stack


def forward(a: Any, b: Any, h: Any) -> tuple[Any, Any]:
    """h_t = a_t h_{t-1} + b_t; a, b [B L D], h [B D]; returns h [B L D] and the last h."""
    rows = []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        rows.append(h)
    return stack(rows, b), h
