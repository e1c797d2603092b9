"""Drawing parameters: what the initialisations of the papers share."""

from __future__ import annotations

import numpy as np


def projection(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Gaussian weights of variance 1/fan-in; the axis before the last is the input."""
    return rng.standard_normal(shape) / np.sqrt(shape[-2])


def step_size_bias(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Bias b with softplus(b) log-uniform in [1e-3, 1e-1] (Gu & Dao 2023)."""
    dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape))
    return dt + np.log(-np.expm1(-dt))
