"""Random features of the softmax kernel e^{x'y}: their directions and the features themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.draws import orthogonal_rows
from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.mechanisms.linear.features import RANDOM, feature_map
from dsf.solvers.intake import Array, count, reals


def random_directions(m: int, d: int, seed: int = 0, *, orthogonal: bool = False) -> Array:
    """m directions omega [m d] with standard Gaussian rows.

    Independent, or orthogonal in blocks of d with independent chi-distributed lengths (Choromanski
    et al. 2021, arXiv 2009.14794, section 3); each row alone has the same law.  Raises DTypeError
    or DomainError unless m and d are integers of at least 1.

    >>> omega = random_directions(4, 4, orthogonal=True)
    >>> bool(np.allclose(omega @ omega.T, np.diag(np.diag(omega @ omega.T))))
    True
    """
    who = "random_directions"
    m, d, rng = count(who, "m", m), count(who, "d", d), np.random.default_rng(seed)
    return orthogonal_rows(rng, (m, d)) if orthogonal else rng.standard_normal((m, d))


def softmax_kernel_features(x: Any, omega: Any, kind: str = "favor", *, A: float = 0.0) -> Array:
    """phi(x) [... m] or [... 2m] for x [... d], directions omega [m d], so that the mean of
    phi(x)'phi(y) over standard Gaussian rows of omega is e^{x'y}; float64.

    kind "favor" (positive), "hyperbolic", "favor++" (with A < 1/8), or "trig"; the formulas stand
    at `dsf.mechanisms.linear.features.feature_map`.  Features of "trig" and of no other kind have
    both signs.  Values beyond the range of float64 become inf, as in the formula.

    Raises UnknownNameError, ShapeError, DTypeError, NonFiniteError, and DomainError for A >= 1/8,
    where the variance is infinite.

    >>> x, y = np.array([0.3, -0.1]), np.array([0.2, 0.5])
    >>> omega = random_directions(100_000, 2)
    >>> phi, psi = softmax_kernel_features(x, omega), softmax_kernel_features(y, omega)
    >>> bool(abs(phi @ psi - np.exp(x @ y)) < 0.02)
    True
    """
    who = "softmax_kernel_features"
    known_kind(who, kind)
    x, omega = reals(who, "x", x), reals(who, "omega", omega, 2)
    if x.shape[-1] != omega.shape[-1] or not omega.size:
        raise ShapeError(
            f"{who}: x {list(x.shape)} is [... d] and omega {list(omega.shape)} is [m d] with the "
            "same d and at least one row"
        )
    with np.errstate(over="ignore"):
        return np.asarray(feature_map(kind, x, omega=omega, A=below_eighth(who, A)))


def known_kind(who: str, kind: str) -> str:
    """`kind` if it is one of the random features, or UnknownNameError."""
    if kind not in RANDOM:
        raise UnknownNameError(f"{who}: no kind {kind!r}; known: {', '.join(RANDOM)}")
    return kind


def below_eighth(who: str, A: float) -> float:
    """A of favor++ if it is below 1/8, or DomainError."""
    if not A < 1 / 8:
        raise DomainError(
            f"{who}: A must be below 1/8, where the second moment of favor++ ends; got {A}"
        )
    return float(A)
