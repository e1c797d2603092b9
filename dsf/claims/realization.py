"""Checkers for state counts: lower bounds from Hankel blocks, upper bounds from a given system.

Everything is recomputed from the witnesses with numpy alone.  Where the finder scans forward and
factors E'E, this module scans backward and factors E E'; the rounding bounds are derived anew.

Rounding model: u = 2^-53; a sum of k products, in any order, is off by at most g(k) times the sum
of the moduli of the products, g(k) = k u / (1 - k u); ||fl(XY) - XY||_F <= g(k) ||X||_F ||Y||_F.
Each bound is made larger (a lower bound: smaller) by the factor 1 + SLACK, SLACK = 2^-40, which
covers the rounding of the few operations that form it; 2^-1000 is added for underflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from dsf.claims.state_sentences import (
    error_sentence,
    gap_sentence,
    lower_sentence,
    states_sentence,
)
from dsf.claims.witnesses import finite, floats, get, number, whole
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError

SLACK = 2.0**-40
TINY = 2.0**-1000


def g(k: int) -> float:
    return k * 2.0**-53 / (1.0 - k * 2.0**-53)


def size(X: np.ndarray) -> float:
    """An upper bound of the Frobenius norm."""
    biggest = float(np.abs(X).max(initial=0.0))
    if biggest == 0.0:
        return 0.0
    if not np.isfinite(biggest):
        return float("inf")
    k = np.frexp(biggest)[1]
    scaled = np.ldexp(X, 1 - k)  # entries below 2, the largest at least 1
    bound = float(np.linalg.norm(scaled)) * (1.0 + g(X.size + 8) + SLACK)
    with np.errstate(over="ignore"):
        bound = float(np.ldexp(bound, k - 1))
    return bound if bound > 2.0**-1000 else bound + 2.0**-1074  # ldexp rounds tiny results


# ------------------------------------------------------------------- checkers
def hankel_lower(c: Certificate) -> None:
    """`lower` singular values of one Hankel block exceed the error asked for."""
    _common(c)
    w = c.witnesses
    error, radius = _number(w, "error"), _number(w, "radius")
    sigma, plain = _smallest(floats(w, "H", None, None), w, "")
    count = len(w["U"].T)
    _require(c.lower == count and c.upper is None, f"the directions prove lower = {count}")
    floor = (error + radius) * (1 + SLACK)
    _require(sigma > floor, f"sigma_{count} >= {sigma:.6g} is all that follows")
    _same(c, sigma=(plain, 0.0))
    text = lower_sentence(error, radius, count, whole(w, "cut"))
    _require(c.claim == text, "the claim says something else")


def hankel_gap(c: Certificate) -> None:
    """The singular value number `states` + 1 of one Hankel block bounds the error from below."""
    _common(c)
    w = c.witnesses
    states = whole(w, "states")
    sigma, plain = _smallest(floats(w, "H", None, None), w, "")
    radius, low = _number(w, "radius"), finite(c.lower, "the lower bound")
    _require(len(w["U"].T) == states + 1 and c.upper is None, "needs states + 1 directions")
    _require(low <= max(sigma - radius, 0.0) * (1 - SLACK), f"only {sigma - radius:.6g} follows")
    _same(c, sigma=(plain, 0.0))
    text = gap_sentence(states, radius, low, whole(w, "cut"))
    _require(c.claim == text, "the claim says something else")


def realization(c: Certificate) -> None:
    """Two-sided bounds: Hankel blocks from below, the given systems from above."""
    _common(c)
    w = c.witnesses
    heads = [f"h{h}." for h in range(whole(w, "heads"))]
    _require(len(heads) > 0, "no operator is given")
    if len(heads) == 1:
        heads = [""]
    question, relative = get(w, "question"), get(w, "relative")
    _require(type(relative) is bool, "witness relative must be True or False")
    _require(question in ("states", "error"), f"no such question: {question!r}")
    by_error = question == "states"
    asked, radius = _number(w, "asked"), _number(w, "radius")
    lows: list[float] = []
    highs: list[float] = []
    plain, squares, extras, achieved, norms = 0.0, 0.0, 0.0, 0.0, 0.0
    for p in heads:
        head = _head(w, p, relative, radius)
        plain, achieved = plain + head.plain, achieved + head.error
        squares, extras = squares + head.frobenius**2, extras + head.extra
        norms += head.high / head.low - 1.0 if head.low > 0 else 0.0
        if by_error:
            target = asked * head.low * (1 - SLACK) if relative else asked
            _require(not 0.0 < target < TINY, "the error asked for is below what floats resolve")
            floor = (asked * head.high + radius) * (1 + SLACK)
            _require(head.error <= target, f"the error is {head.error:.6g}, above {target:.6g}")
            _require(min(head.sigmas) > floor, f"a singular value is {min(head.sigmas):.6g} only")
            lows.append(sum(head.counts))
            highs.append(sum(head.states))
        else:
            most, asked = max(head.states), whole(w, "asked")
            _require(most <= asked, f"the system has {most} states; {asked:g} were asked for")
            proved = [
                s - radius for s, k in zip(head.sigmas, head.counts, strict=True) if k == asked + 1
            ]
            lows.append(_over(max(proved, default=0.0), head.high))
            highs.append(_over(head.error, head.low))
    low, high = max(lows, default=0), max(highs, default=0)
    if by_error:
        _require((c.lower, c.upper) == (low, high), f"the witnesses prove {low}, {high}")
        text = states_sentence(asked, relative, radius, int(low), int(high))
    else:
        lower = finite(c.lower, "the lower bound")
        upper = float("inf") if c.upper == np.inf else finite(c.upper, "the upper bound")
        _require(lower <= max(low, 0.0) * (1 - SLACK), f"only {low:.6g} <= error follows")
        _require(upper >= high * (1 + SLACK), f"only error <= {high:.6g} follows")
        text = error_sentence(int(asked), relative, radius, lower, upper)
    _same(
        c,
        sigma=(plain, 0.0),
        frobenius=(float(np.sqrt(squares)), 4.0 * extras),
        error=(achieved, 0.0),
        norm_gap=(norms, 1e-13),
    )
    _require(c.claim == text, "the claim says something else")


@dataclass(frozen=True)
class Head:
    """What the witnesses of one operator prove; one entry per direction of time in each tuple."""

    sigmas: tuple[float, ...]  # proved lower bound of singular value number `count`
    counts: tuple[int, ...]
    states: tuple[int, ...]
    plain: float  # the same singular values in plain floats, summed
    error: float  # proved bound on |M - kernel of the systems|
    frobenius: float
    extra: float  # how far the evaluated kernel may be from the exact one
    low: float  # low <= |M| <= high
    high: float


def _head(w: Mapping[str, Any], p: str, relative: bool, radius: float) -> Head:
    M = _blocks(w, p + "M")
    low, high = _norm_bounds(M, w, p, radius) if relative else (1.0, 1.0)
    parts = [d for d in ("forward.", "backward.") if p + d + "U" in w]
    _require("forward." in parts, "no witnesses for the forward direction")
    found = [_smallest(_hankel(M, w, p + d), w, p + d) for d in parts]
    E, extra = _difference(M, w, p, parts)
    error = _number(w, p + "error")
    bound = (error * (1 - 2.0**-45) - radius - extra - 2.0**-52 * size(E)) * (1 - SLACK)
    _require(at_most(E, bound), f"|M - kernel of the system| <= {error:.6g} does not follow")
    return Head(
        tuple(sigma for sigma, _ in found),
        tuple(len(w[p + d + "U"].T) for d in parts),
        tuple(_states(M, w, p + d) for d in parts),
        sum(plain for _, plain in found),
        error,
        float(np.linalg.norm(E)),
        extra,
        low,
        high,
    )


# ------------------------------------------------------------------ the parts
def _common(c: Certificate) -> None:
    _require(c.scope is Scope.OPERATOR, "a state count is a statement about one operator")
    _require(c.strength is not Strength.EXACT, "float bounds are not exact")


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise CertificateError(f"realization: {why}")


def _number(w: Mapping[str, Any], name: str) -> float:
    x = number(w, name)
    _require(x >= 0.0, f"witness {name} must be >= 0; got {x}")
    return x


def _same(c: Certificate, **found: tuple[float, float]) -> None:
    """The recorded residuals are those of these witnesses, to rounding: name=(value, allowance)."""
    for name, (value, off) in found.items():
        told = float(c.residuals.get(name, np.nan))
        close = abs(told - value) <= 1e-9 * abs(value) + off + 1e-14
        _require(close, f"residual {name} is {value:.12g}, the certificate says {told:.12g}")


def _over(x: float, norm: float) -> float:
    """x / norm; an error of 0 is 0 in any unit."""
    return 0.0 if x == 0.0 else x / norm if norm > 0 else float("inf")


def _blocks(w: Mapping[str, Any], name: str) -> np.ndarray:
    two = np.ndim(get(w, name)) == 2
    M = floats(w, name, None, None)[:, None, :, None] if two else floats(w, name, *[None] * 4)
    _require(M.shape[0] == M.shape[2] and 0 not in M.shape[1::2], f"M has the shape {M.shape}")
    return M


def _reversed(M: np.ndarray) -> np.ndarray:
    return M[::-1, :, ::-1, :]


def _states(M: np.ndarray, w: Mapping[str, Any], p: str) -> int:
    """States of the given system; a cache keeps all earlier inputs."""
    if w.get(p + "cache") is True:
        return max(M.shape[0] - 1, 0) * M.shape[3]
    return floats(w, p + "A", None, None, None).shape[-1]


def _hankel(M: np.ndarray, w: Mapping[str, Any], p: str) -> np.ndarray:
    """The Hankel block M[k:, :k] at the cut of the witnesses, in their direction of time."""
    L, r, _, m = M.shape
    k = whole(w, p + "cut")
    _require(0 <= k <= L, f"cut {k} is not one of 0..{L}")
    M = _reversed(M) if p.endswith("backward.") else M
    return M[k:, :, :k, :].reshape((L - k) * r, k * m)


def _smallest(H: np.ndarray, w: Mapping[str, Any], p: str) -> tuple[float, float]:
    """A lower bound of sigma_c(H), c = number of columns of the witnesses U and V, and min |d|.

    For every x, ||U'HVx|| <= ||U||_2 ||HVx||, so sigma_c(U'HV) <= ||U||_2 ||V||_2 sigma_c(H).
    With X = fl(U'H) and fl(XV) = diag(d) + rest, T = U'HV satisfies

        sigma_c(T) >= min |d| - ||rest||_F - g(p) ||U||_F ||H||_F ||V||_2 - g(q) ||X||_F ||V||_F.

    (inf, 0) for c = 0, where nothing is claimed.
    """
    U, V = floats(w, p + "U", None, None), floats(w, p + "V", None, None)
    count = U.shape[1]
    if count == 0:
        return float("inf"), 0.0
    fit = U.shape == (H.shape[0], count) and V.shape == (H.shape[1], count)
    _require(fit, f"directions {U.shape}, {V.shape} do not fit a Hankel block {H.shape}")
    for X in (U, V):
        off = float(np.abs(X.T @ X - np.eye(count)).max())
        _require(
            off < 1e-9, f"the directions are not orthonormal (by {off:.1e}): were they changed?"
        )
    left = U.T @ H
    T = left @ V
    d = np.abs(np.diag(T))
    rest = size(T - np.diag(np.diag(T)))
    two_u, two_v = (
        np.sqrt(1 + size(X.T @ X - np.eye(count)) + g(X.shape[0] + 2) * size(X) ** 2)
        for X in (U, V)
    )
    lost = g(len(U)) * size(U) * size(H) * two_v + g(len(V)) * size(left) * size(V) + TINY
    value = float((d.min() * (1 - SLACK) - (rest + lost) * (1 + SLACK)) / (two_u * two_v))
    _require(value > 0.0, f"nothing follows for {count} directions")
    return value * (1 - SLACK), float(d.min())


def _norm_bounds(M: np.ndarray, w: Mapping[str, Any], p: str, radius: float) -> tuple[float, float]:
    """low <= |M| <= high for all operators within `radius` of M: a test vector, and Cholesky."""
    F = M.reshape(M.shape[0] * M.shape[1], M.shape[2] * M.shape[3])
    low, high = _number(w, p + "norm_low"), _number(w, p + "norm_high")
    v = floats(w, p + "norm_v", None)
    if F.size == 0:
        _require(low == 0.0, "an empty operator has norm 0")
        return low, high
    _require(abs(v @ v - 1.0) < 1e-9, "the test vector of |M| is not of length 1: was it changed?")
    Fv = F @ v
    short = np.sqrt(Fv @ Fv) * (1 - SLACK) - g(F.shape[1]) * size(F) * size(v) - TINY
    proved = (short / size(v) - radius) * (1 - SLACK)
    fits = bool(np.isfinite(short)) and low <= proved
    _require(low == 0.0 or fits, f"|M| >= {low:.6g} does not follow")
    _require(at_most(F, (high - radius) * (1 - SLACK)), f"|M| <= {high:.6g} does not follow")
    return low, high


def _difference(
    M: np.ndarray, w: Mapping[str, Any], p: str, parts: list[str]
) -> tuple[np.ndarray, float]:
    """E = fl(M - kernel) and a bound on what the evaluation of the kernel may be off by."""
    L, r, _, m = M.shape
    K, extra, t = np.zeros_like(M), 0.0, np.arange(L)
    K[t, :, t, :] = floats(w, p + "forward.D", L, r, m)
    for d in parts:  # they fill different entries, so these sums are exact
        if w.get(p + d + "cache") is True:
            earlier = t[:, None, None, None] > t[:, None]
            part = np.where(earlier, M if d == "forward." else _reversed(M), 0.0)
        else:
            flat, e = _kernel(*(floats(w, p + d + x, None, None, None) for x in "ABC"))
            _require(flat.size == M.size, "the system has other sizes than M")
            part, extra = flat.reshape(M.shape), extra + e
        K += part if d == "forward." else _reversed(part)
    return (M - K).reshape(L * r, L * m), extra


def _kernel(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Column block t of the strictly causal kernel is Z_{t+1} B_t, with Z_t = [C_t; Z_{t+1} A_t].

    With z >= ||Z^_{t+1}||_F: an error e of Z_{t+1} becomes at most ||A_t||_2 e + g(n) ||A_t||_F z
    in Z_t, and column block t is off by at most ||B_t||_F (e + g(n) z).
    """
    L, n, m = B.shape
    r = C.shape[1]
    _require(A.shape == (L, n, n) and C.shape == (L, r, n), "A, B, C do not fit together")
    K, Z = np.zeros((L * r, L * m)), np.zeros((0, n))
    f = [size(A_t) for A_t in A]
    gains = _contractive(A, f)
    e, off = 0.0, np.zeros(L)
    with threadpool_limits(limits=1, user_api="blas"):  # thousands of small products
        for t in range(L - 1, -1, -1):
            z, b = size(Z), size(B[t])
            K[(t + 1) * r :, t * m : (t + 1) * m] = Z @ B[t]
            off[t] = b * e + g(n) * b * z + (TINY if b and z else 0.0)
            e = gains[t] * e + g(n) * f[t] * z + (TINY if f[t] and z else 0.0)
            Z = np.vstack([C[t], Z @ A[t]])
    return K, size(off) * (1 + SLACK) * (1 + g(16 * L))


def _contractive(A: np.ndarray, f: list[float]) -> list[float]:
    """Upper bounds of ||A_t||_2: 1 + 2^-30 where Cholesky shows it, else f_t.

    First `at_most` for all A_t at once, with s = max f; if that fails, one by one.
    """
    n, one, s = A.shape[-1], 1 + 2.0**-30, max(f, default=0.0)
    d = _diagonal(one, n, n, s)
    try:
        together = d > 0.0 and np.all(
            np.isfinite(np.linalg.cholesky(d * np.eye(n) - A @ np.swapaxes(A, 1, 2)))
        )
    except np.linalg.LinAlgError:
        together = False
    return [
        min(x, one) if together or at_most(A_t, one) else x for x, A_t in zip(f, A, strict=True)
    ]


def at_most(E: np.ndarray, bound: float) -> bool:
    """True only if ||E||_2 <= bound: Cholesky of S = fl(d I - E E') shows it.

    Let s >= ||E||_F.  The float Gram matrix is off by at most g(q) s^2, the diagonal of S by 2 u d
    more.  If Cholesky ends, R'R = S + W with |W_ij| <= h ||R_i|| ||R_j|| for the columns of R,
    h = g(p + 8), and ||R_i||^2 <= S_ii/(1 - h); so ||W||_F <= h/(1 - h) tr S <= 2 h p d, that is
    S >= -2 h p d.  Therefore ||E||_2^2 <= d + 2 h p d + 4 u d + g(q) s^2.
    """
    if E.shape[0] > E.shape[1]:
        E = E.T
    p, q = E.shape
    s = size(E)
    if not bound >= 0.0:
        return False
    if s <= bound:
        return True
    d = _diagonal(bound, p, q, s)
    if d == 0.0:
        return False
    S = -(E @ E.T)
    S[np.diag_indices(p)] += d
    try:
        return bool(np.all(np.isfinite(np.diag(np.linalg.cholesky(S)))))
    except np.linalg.LinAlgError:
        return False


def _diagonal(bound: float, p: int, q: int, s: float) -> float:
    """The d of `at_most`, or 0.0 where nothing can be shown."""
    h = g(p + 8)
    d = (
        (bound * bound - g(q) * s * s * (1 + SLACK) - TINY)
        / (1 + 2 * h * p + 2.0**-50)
        * (1 - 2.0**-49)
    )
    return d if d > 2.0**-900 and h * p < 0.25 else 0.0  # smaller d: entries of R would underflow
