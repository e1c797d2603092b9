"""What the figures of this folder share: data for many runs at once, starts."""

from __future__ import annotations

import numpy as np

from dsf.solvers.svm.instances import Instance

Array = np.ndarray


def stack(runs: list[Instance]) -> tuple[Array, Array, Array]:
    """X [S n T d], z [S n d], scores [S n T] of several instances of one size."""
    X, z, scores = (np.array([getattr(i, k) for i in runs]) for k in ("X", "z", "scores"))
    return X, z, scores


def start(d: int, seed: int, count: int = 1) -> Array:
    """`count` matrices [count d d] from U(-1/sqrt(d), 1/sqrt(d)), the default of a linear layer."""
    return np.random.default_rng([seed, d]).uniform(-(d**-0.5), d**-0.5, (count, d, d))
