"""Prompts of linear regression: examples (x_l, y_l), a query, and its noisy target.

x ~ N(0, Lam),   beta ~ N(0, Psi),   y = beta'x + e,   e ~ N(0, noise_var)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError

Array = np.ndarray
LEAST, LARGEST = 1e-60, 1e60  # products of four such numbers stay within the floats
SYMMETRIC = 1e-12  # relative: what two ways to compute a covariance may differ by


class Drawn(NamedTuple):
    """Prompts: X [B L d], y [B L], query [B d], target [B]."""

    X: Array
    y: Array
    query: Array
    target: Array


@dataclass(frozen=True, eq=False)
class Prompts:
    """The distribution of prompts of one length.

    covariance   Lam [d d] of the covariates; None: the identity
    prior        Psi [d d] of the coefficients; None: I/d, so that beta'x has variance tr(Lam)/d

    Raises ShapeError unless d and length are integers of at least 1 and matrices are d x d,
    DTypeError for what is no number, NonFiniteError for NaN or infinity, DomainError for a negative
    noise, a matrix that is not symmetric and positive semidefinite, and variances other than 0
    outside 1e-60 to 1e60.
    Source: He et al. 2025, arXiv 2503.12734, section 2.

    >>> drawn = Prompts(d=2, length=3, noise_var=0.1).draw(0, 4)
    >>> drawn.X.shape, drawn.y.shape, drawn.query.shape, drawn.target.shape
    ((4, 3, 2), (4, 3), (4, 2), (4,))
    """

    d: int
    length: int
    noise_var: float
    covariance: Array | None = None
    prior: Array | None = None

    def __post_init__(self) -> None:
        for name in ("d", "length"):
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                raise ShapeError(f"prompts: {name} must be an integer of at least 1; got {size!r}")
        object.__setattr__(self, "noise_var", number("prompts: noise_var", self.noise_var))
        _in_range("prompts: noise_var", abs(self.noise_var), LEAST)
        if self.noise_var < 0:
            raise DomainError(
                f"prompts: noise_var is a variance and must not be negative; got {self.noise_var}"
            )
        for name in ("covariance", "prior"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _semidefinite(name, getattr(self, name), self.d))

    @property
    def Lam(self) -> Array:
        """The covariance of the covariates [d d]."""
        return np.eye(self.d) if self.covariance is None else self.covariance

    @property
    def Psi(self) -> Array:
        """The covariance of the coefficients [d d]."""
        return np.eye(self.d) / self.d if self.prior is None else self.prior

    @property
    def signal(self) -> float:
        """The variance of beta'x, tr(Lam Psi): the risk of predicting 0 is this plus the noise."""
        return float(np.sum(self.Lam * self.Psi))

    def draw(self, rng: Any, count: int, dtype: Any = np.float64) -> Drawn:
        """`count` prompts; drawn in the order X, query, beta, noise of y, noise of the target.

        rng    a seed or a generator of numpy

        >>> Prompts(d=5, length=40, noise_var=0.1).draw(0, 2000).X[0, 0, :3].round(6).tolist()
        [0.12573, -0.132105, 0.640423]
        """
        rng, B, (L, d) = np.random.default_rng(rng), count, (self.length, self.d)
        X = rng.standard_normal((B, L, d), dtype)
        query = rng.standard_normal((B, d), dtype)
        beta = rng.standard_normal((B, d), dtype)
        noise = rng.standard_normal((B, L), dtype)
        last = rng.standard_normal(B, dtype)
        if self.covariance is not None:
            root = factor(self.covariance).T.astype(dtype)
            X, query = X @ root, query @ root
        if self.prior is None:
            beta = beta / np.asarray(d**0.5, dtype)
        else:
            beta = beta @ factor(self.prior).T.astype(dtype)
        sigma = np.asarray(self.noise_var**0.5, dtype)
        y = np.einsum("bld,bd->bl", X, beta) + sigma * noise
        return Drawn(X, y, query, np.sum(query * beta, -1) + sigma * last)


def number(what: str, x: Any) -> float:
    """x as a float; DTypeError where it is no number, NonFiniteError for NaN and infinity.

    >>> number("step", 1)
    1.0
    """
    try:
        found = float(x)
    except (TypeError, ValueError) as e:
        raise DTypeError(f"{what} must be one number; got {x!r}") from e
    if not np.isfinite(found):
        raise NonFiniteError(f"{what} must be finite; got {found}")
    _in_range(what, abs(found))
    return found


def numbers(what: str, x: Any) -> Array:
    """x as an array of float64; DTypeError where it holds no numbers, NonFiniteError as `number`.

    >>> numbers("G", [1, 2])
    array([1., 2.])
    """
    try:
        found = np.asarray(x, np.float64)
    except (TypeError, ValueError) as e:
        raise DTypeError(f"{what} must be an array of real numbers; got {x!r}") from e
    if not np.isfinite(found).all():
        raise NonFiniteError(f"{what} holds NaN or infinity")
    _in_range(what, float(np.abs(found).max(initial=0.0)))
    return found


def _in_range(what: str, size: float, least: float = 0.0) -> None:
    if size and not least <= size <= LARGEST:
        raise DomainError(
            f"{what} is of size {size:.3g}; risks are products of such numbers and would leave the "
            f"floats. Sizes up to {LARGEST:g} are taken, variances from {LEAST:g} on; choose other "
            "units of x and y."
        )


def factor(S: Array) -> Array:
    """F [d d] with F F' = S: Cholesky's lower triangle; of a singular S the symmetric root.

    >>> factor(np.array([[4.0, 0.0], [0.0, 0.0]]))
    array([[2., 0.],
           [0., 0.]])
    """
    try:
        return np.linalg.cholesky(S)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(S)
        root: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        return root


def decaying(d: int, rho: float) -> Array:
    """The covariance rho^|i - j| [d d].

    >>> decaying(2, 0.5)
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    place = np.arange(d)
    found: Array = float(rho) ** np.abs(place[:, None] - place)
    return found


def _semidefinite(name: str, S: Any, d: int) -> Array:
    S = numbers(f"prompts: {name}", S)
    if S.shape != (d, d):
        raise ShapeError(f"prompts: {name} must be [{d} {d}]; got {list(S.shape)}")
    size = float(np.abs(S).max())
    _in_range(f"prompts: {name}", size, LEAST)
    if np.abs(S - S.T).max() > SYMMETRIC * size or np.linalg.eigvalsh(S)[0] < -SYMMETRIC * size * d:
        raise DomainError(
            f"prompts: {name} must be symmetric and positive semidefinite, for it is a "
            "covariance. Likely cause: a factor of it was given instead of the product."
        )
    return (S + S.T) / 2
