"""Functions of a query and a set of keys that random-feature heads are asked to learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.core.errors import DomainError
from dsf.solvers.intake import Array, count


@dataclass(frozen=True)
class Target:
    """(1/N) sum_i <x_0, x_i>^p <beta, x_i>^q <beta, x_0>^r; X [n N+1 d], beta [d] of length 1."""

    formula: str
    p: int = 0
    q: int = 0
    r: int = 0

    def __call__(self, X: Array, beta: Array) -> Array:
        """The values [n]."""
        query, keys = X[:, 0], X[:, 1:]
        scores = (keys @ query[:, :, None])[..., 0] ** self.p * (keys @ beta) ** self.q
        return scores.mean(1) * (query @ beta) ** self.r

    def complexity(self, d: int) -> float:
        """B = C_k |f|^2 with C_k = max(k^4.5 4^k, 1), k = max(r', s' - 1), for the tensor f of r' =
        p + r queries and s' = p + q keys, of norm |f|^2 = d^p (not made symmetric).

        The norm of Fu et al. 2023 (arXiv 2307.11353, theorem 1), its constants as recalled.

        >>> TARGETS["query"].complexity(8), TARGETS["keys"].complexity(8)
        (362.038..., 4.0)
        """
        k = max(self.p + self.r, self.p + self.q - 1, 0)
        return max(k**4.5 * 4.0**k, 1.0) * float(d) ** self.p


TARGETS = {
    "query": Target(r"$\langle\beta, x_0\rangle^2$", r=2),
    "keys": Target(r"mean $\langle\beta, x_i\rangle^2$", q=2),
    "correlation": Target(r"mean $\langle x_0, x_i\rangle^2$", p=2),
    "weighted": Target(r"mean $\langle x_0, x_i\rangle\langle\beta, x_i\rangle$", p=1, q=1),
}


def unit_tokens(rng: np.random.Generator, samples: int, keys: int, d: int) -> Array:
    """X [samples keys+1 d], each token uniform on the unit sphere.

    >>> X = unit_tokens(np.random.default_rng(0), 2, 3, 4)
    >>> X.shape, bool(np.allclose(np.linalg.norm(X, axis=-1), 1))
    ((2, 4, 4), True)
    """
    for name, value in (("samples", samples), ("keys", keys), ("d", d)):
        count("unit_tokens", name, value, least=0 if name == "samples" else 1)
    X = rng.standard_normal((samples, keys + 1, d))
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


def relative(y: Array) -> Array:
    """y over its standard deviation, not centred; DomainError where y is constant.

    >>> relative(np.array([0.0, 2.0]))
    array([0., 2.])
    """
    spread = float(np.std(y)) if len(y) else 0.0
    if not spread > 0:
        raise DomainError("relative: the target is constant, so no relative error is defined")
    return y / spread
