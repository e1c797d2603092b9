"""Softmax regression in 60 digits: B as it is defined, n x n, and the minimiser by Newton's method.

That the Hessian is at least l everywhere is no sentence about one point: it is judged by the
weights and the exact smallest singular value of A, and besides by the Hessians at some points.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
from judge_numbers import at_most, matrix

STEPS = 60  # of Newton's method, in the region where it is quadratic from the start or damped


def _at(c: Any, x: Any) -> tuple[Any, Any]:
    """(gradient, Hessian) at x."""
    A, n = matrix(c.A), len(c.b)
    z = A * x
    top = max(z)
    e = [mp.exp(y - top) for y in z]
    f = mp.matrix([y / mp.fsum(e) for y in e])
    r = f - mp.matrix([mp.mpf(float(y)) for y in c.b])
    W2 = mp.diag([mp.mpf(float(y)) ** 2 for y in c.w])
    J = mp.diag(list(f)) - f * f.T
    B = J * J
    for k in range(n):
        e_k = mp.matrix([int(i == k) for i in range(n)])
        B += r[k] * f[k] * ((e_k - f) * (e_k - f).T - J)
    return A.T * (J * r + W2 * z), A.T * (B + W2) * A


def _lowest(H: Any) -> Any:
    return min(mp.eigsy((H + H.T) / 2, eigvals_only=True))


def _x(c: Any) -> Any:
    return mp.matrix([mp.mpf(float(y)) for y in c.x])


def minimiser(c: Any) -> bool:
    x = _x(c)
    g, H = _at(c, x)
    if not at_most(mp.norm(g), c.gradient):
        return False
    A = matrix(c.A)
    far = max(max(abs(mp.mpf(float(y))), abs(1 - mp.mpf(float(y)))) for y in c.b)
    excess = min(mp.mpf(float(y)) ** 2 for y in c.w) - far
    if not at_most(c.modulus, excess * _lowest(A.T * A)):
        return False
    best = x
    for _ in range(STEPS):
        g, H = _at(c, best)
        if not at_most(c.modulus, _lowest(H)):
            return False
        step = mp.lu_solve(H, g)
        t = mp.mpf(1)
        while t > mp.mpf(2) ** -40 and mp.norm(_at(c, best - t * step)[0]) > mp.norm(g):
            t /= 2
        best -= t * step
        if mp.norm(step) < mp.mpf(10) ** -50:
            break
    return at_most(mp.norm(best - x), c.upper)


def stationary(c: Any) -> bool:
    g, H = _at(c, _x(c))
    low = _lowest(H)
    return bool(at_most(mp.norm(g), c.gradient) and at_most(c.lower, low) and at_most(low, c.upper))


JUDGES = {"softmax-minimiser": minimiser, "softmax-stationary": stationary}
