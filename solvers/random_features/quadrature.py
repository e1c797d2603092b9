"""The slow twin of the closed forms for independent directions: Gauss-Hermite quadrature."""

from __future__ import annotations

import numpy as np

from dsf.solvers.intake import Array

NODES = 200


def gaussian_nodes(nodes: int = NODES) -> tuple[Array, Array]:
    """Points and weights with sum w f(t) = E f(t) for polynomials, t standard normal.

    >>> t, w = gaussian_nodes()
    >>> bool(abs(w @ np.exp(t) - np.exp(0.5)) < 1e-13)
    True
    """
    t, w = np.polynomial.hermite_e.hermegauss(nodes)
    return t, w / np.sqrt(2 * np.pi)


def moments(x: Array, y: Array, kind: str, A: float = 0.0) -> tuple[float, float]:
    """(mean, mean square) of phi(x)'phi(y) for one direction w, x, y [d], by quadrature.

    What depends on w is w'z or w'D, a Gaussian of one dimension, and for favor++ also |w|^2, whose
    d - 1 other coordinates factor out.

    >>> mean, square = moments(np.array([0.5]), np.array([0.5]), "favor")
    >>> bool(abs(mean - np.exp(0.25)) < 1e-12)
    True
    """
    t, w = gaussian_nodes()
    d, size = len(x), x @ x + y @ y
    z, D = np.linalg.norm(x + y), np.linalg.norm(x - y)
    if kind == "trig":
        f = np.exp(size / 2) * np.cos(D * t)
    elif kind == "hyperbolic":
        f = np.exp(-size / 2) * np.cosh(z * t)
    elif kind == "favor":
        f = np.exp(z * t - size / 2)
    else:  # favor++
        others = (1 - 4 * A) ** 0.5 * np.exp(2 * A * t * t)
        f = (1 - 4 * A) ** 0.5 * np.exp(2 * A * t * t + (1 - 4 * A) ** 0.5 * z * t - size / 2)
        return float(w @ f * (w @ others) ** (d - 1)), float(w @ f**2 * (w @ others**2) ** (d - 1))
    return float(w @ f), float(w @ f**2)
