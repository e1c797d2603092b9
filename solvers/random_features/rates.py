"""Rates: the slope of log error in log size, with a bootstrap interval over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.intake import count, reals


@dataclass(frozen=True)
class Rate:
    """A fitted exponent, and the interval in which 95 % of the resampled fits lie."""

    slope: float
    low: float
    high: float


def fitted_rate(sizes: Any, errors: Any, draws: int = 1000, seed: int = 0) -> Rate:
    """The slope of mean over seeds of log error in log size, errors [seeds sizes], sizes [sizes].

    The interval holds the middle 95 % of the slopes of `draws` resamplings of the seeds; with few
    seeds it is too narrow rather than too wide.  Raises ShapeError, DomainError unless all numbers
    are positive and there are two different sizes.

    >>> round(fitted_rate([1, 10, 100], [[1, 0.1, 0.01], [2, 0.2, 0.02]]).slope, 12)
    -1.0
    """
    sizes = reals("fitted_rate", "sizes", sizes, 1)
    errors = reals("fitted_rate", "errors", errors, 2)
    draws = count("fitted_rate", "draws", draws)
    if errors.shape[1:] != sizes.shape or not len(errors):
        raise ShapeError(
            f"fitted_rate: errors {list(errors.shape)} must be [seeds sizes] for {len(sizes)} sizes"
        )
    if len(set(sizes.tolist())) < 2 or np.any(sizes <= 0) or np.any(errors <= 0):
        raise DomainError("fitted_rate: needs two different sizes, and all numbers above 0")
    x, y = np.log(sizes), np.log(errors)
    slopes = y @ (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    chosen = np.random.default_rng(seed).integers(len(slopes), size=(draws, len(slopes)))
    low, high = np.quantile(slopes[chosen].mean(1), (0.025, 0.975))
    return Rate(float(slopes.mean()), float(low), float(high))
