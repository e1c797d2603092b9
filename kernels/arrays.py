"""What kernels ask of arrays, of numpy and torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.worlds import is_torch


def stack(rows: list[Any], like: Any) -> Any:
    """Rows [B H V] of every step as [B L H V], in the world and dtype of `like` [B L H V]."""
    if not rows:
        return like * 1
    if is_torch(like):
        import torch

        return torch.stack(rows, 1)
    return np.stack(rows, 1)
