"""Counts of states, errors and spectral radii in 60 digits, by singular values and eigenvalues.

The checks use floats with rounding bounds and Schur-Cohn; here everything is evaluated anew in
mpmath, at numbers so long that only an exact equality is not decided (it counts as an equality).
"""

from __future__ import annotations

from typing import Any

import flint
import mpmath as mp
import numpy as np

mp.mp.dps = 60
SAME = mp.mpf(10) ** -40  # relative: closer numbers are equal


def matrix(x: np.ndarray) -> Any:
    """Floats as exact numbers."""
    x = np.asarray(x)
    if x.ndim != 2:
        raise TypeError(f"a matrix is needed, got {x.shape}")
    if x.dtype.kind == "c":
        return mp.matrix([[mp.mpc(complex(e)) for e in row] for row in x])
    return mp.matrix([[mp.mpf(float(e)) for e in row] for row in x])


def singular(A: Any) -> list[Any]:
    """All singular values, decreasing."""
    if 0 in (A.rows, A.cols):
        return []
    return sorted(mp.svd_c(A, compute_uv=False), reverse=True)


def at_most(a: Any, b: Any) -> bool:
    """a <= b, where what is equal to 40 digits is equal."""
    return bool(a <= b + SAME * (abs(a) + abs(b)))


# --------------------------------------------------------------------- realizations
def _runs(head: Any) -> list[tuple[Any, np.ndarray]]:
    both = [(head.forward, head.M)]
    if head.backward is not None:
        both.append((head.backward, head.M[::-1, :, ::-1, :]))
    return both


def _block(M: np.ndarray, k: int) -> Any:
    L, r, _, m = M.shape
    return matrix(M[k:, :, :k, :].reshape((L - k) * r, k * m))


def _kernel(d: Any, M: np.ndarray) -> Any:
    """The strictly causal kernel of a system, or that part of M."""
    L, r, _, m = M.shape
    K = mp.zeros(L * r, L * m)
    for j in range(L):
        if d.A is None:
            for t in range(j + 1, L):
                for a in range(r):
                    for b in range(m):
                        K[t * r + a, j * m + b] = mp.mpf(float(M[t, a, j, b]))
            continue
        X = matrix(d.B[j])
        for t in range(j + 1, L):
            Y = matrix(d.C[t]) * X if d.A.shape[-1] else mp.zeros(r, m)
            for a in range(r):
                for b in range(m):
                    K[t * r + a, j * m + b] = Y[a, b]
            X = matrix(d.A[t]) * X if d.A.shape[-1] else X
    return K


def _error(head: Any) -> Any:
    """|M - kernel of the systems|."""
    L, r, _, m = head.M.shape
    total = matrix(head.M.reshape(L * r, L * m))
    for i, (d, M) in enumerate(_runs(head)):
        K = _kernel(d, M)
        for a in range(L * r):
            for b in range(L * m):
                t, j = divmod(a, r), divmod(b, m)
                row, column = (t, j) if i == 0 else ((L - 1 - t[0], t[1]), (L - 1 - j[0], j[1]))
                total[row[0] * r + row[1], column[0] * m + column[1]] -= K[a, b]
    for t in range(L):
        for a in range(r):
            for b in range(m):
                total[t * r + a, t * m + b] -= mp.mpf(float(head.D[t, a, b]))
    found = singular(total)
    return found[0] if found else mp.mpf(0)


def _norm(head: Any, relative: bool) -> Any:
    L, r, _, m = head.M.shape
    return singular(matrix(head.M.reshape(L * r, L * m)))[0] if relative else mp.mpf(1)


def _gap(head: Any, total: int, radius: Any) -> Any:
    """The best e at which `total` singular values of the stored cuts, in all, are e + radius."""
    sigmas = [singular(_block(M, d.cut)) for d, M in _runs(head)]
    every = sorted((s for x in sigmas for s in x), reverse=True)
    return every[total - 1] - radius if 0 < total <= len(every) else mp.mpf(0)


def realization(c: Any) -> bool:
    radius = mp.mpf(c.radius)
    need, have, low, high = [], [], [], []
    for head in c.heads:
        size = _norm(head, c.relative)
        states = sum(M.shape[0] * 10**6 if d.A is None else d.A.shape[-1] for d, M in _runs(head))
        if any(d.A is None for d, _ in _runs(head)):
            states = sum(d.states(M) for d, M in _runs(head))
        have.append(states)
        reached = _error(head) + radius
        if c.question == "states":
            floor = mp.mpf(c.asked) * (size + (radius if c.relative else 0)) + radius
            found = [s for d, M in _runs(head) for s in singular(_block(M, d.cut))]
            need.append(sum(not at_most(s, floor) for s in found))
            if not at_most(reached, mp.mpf(c.asked) * (size - (radius if c.relative else 0))):
                return False
        else:
            gap = _gap(head, c.asked + 1, radius)
            low.append(max(gap, 0) / (size + (radius if c.relative else 0)))
            high.append(reached / (size - (radius if c.relative else 0)))
    if c.question == "states":
        return c.lower <= max(need) and c.upper >= max(have)
    fits = max(have) <= c.asked
    return fits and at_most(c.lower, max(low)) and at_most(max(high), c.upper)


def hankel_lower(c: Any) -> bool:
    floor = mp.mpf(c.error) + mp.mpf(c.radius)
    return c.lower <= sum(not at_most(s, floor) for s in singular(matrix(c.H)))


def hankel_gap(c: Any) -> bool:
    s = singular(matrix(c.H))
    value = s[c.states] - mp.mpf(c.radius) if 0 <= c.states < len(s) else mp.mpf(0)
    return at_most(c.lower, max(value, 0))


def frobenius_floor(c: Any) -> bool:
    """Blocks by the set of their entries; tails by exact singular values."""
    L, entries, total = len(c.M), [], mp.mpf(0)
    for lo, mid, hi in np.asarray(c.blocks).tolist():
        if not 0 <= lo < mid < hi <= L:
            return False
        entries += [(i, j) for i in range(mid, hi) for j in range(lo, mid)]
        total += sum(s**2 for s in singular(matrix(c.M[mid:hi, lo:mid]))[c.states :])
    whole = sum(mp.mpf(float(c.M[i, j])) ** 2 for i in range(L) for j in range(i))
    return len(set(entries)) == len(entries) and at_most(c.lower**2 * whole, total)


def distance(c: Any) -> bool:
    found = []
    for M, N in zip(c.M, c.N, strict=True):
        found += singular(matrix(M) - matrix(N))[:1]
    value = max(found)
    return at_most(c.lower, value) and at_most(value, c.upper)


# --------------------------------------------------------------------- stability
def _number(x: Any) -> Any:
    z = complex(x)
    return mp.mpc(z.real, z.imag)


def _transitions(c: Any) -> list[Any]:
    """The transitions as matrices [n n], diagonal ones too."""
    parts = c.parts()
    axes = {"a": 1, "log_a": 1, "U": 2, "W": 2, "A": 2}
    lead = np.broadcast_shapes(*(f.shape[: f.ndim - axes[k]] for k, x in parts.items() for f in x))
    found = []
    for index in np.ndindex(lead):
        part = {}
        for k, x in parts.items():
            full = [np.broadcast_to(f, (*lead, *f.shape[f.ndim - axes[k] :]))[index] for f in x]
            part[k] = np.vectorize(lambda *e: mp.fprod(map(_number, e)), otypes=[object])(*full)
        found.append(_dense(part))
    return found


def _dense(part: dict[str, np.ndarray]) -> Any:
    if "A" in part:
        return mp.matrix(part["A"].tolist())
    (name,) = {"a", "log_a"} & part.keys()
    entries = part[name] if name == "a" else [mp.exp(x) for x in part[name]]
    n = part["U"].shape[0] if "U" in part else len(entries)
    entries = list(entries) * (n if len(entries) == 1 else 1)
    A = mp.diag(entries)
    if "U" in part:
        A = A + mp.matrix(part["U"].tolist()) * mp.matrix(part["W"].tolist()).T
    return A


def _radius(A: Any, varying: bool) -> Any:
    if A.rows == 0:
        return mp.mpf(0)
    if varying:
        return singular(A)[0]
    if all(A[i, j] == 0 for i in range(A.rows) for j in range(A.rows) if i != j):
        return max(abs(A[i, i]) for i in range(A.rows))
    return max(map(abs, _roots(A)))


def _roots(A: Any) -> list[Any]:
    """The eigenvalues of a real matrix of floats: roots of its exact characteristic polynomial."""
    exact = [[flint.fmpq(*_ratio(A[i, j])) for j in range(A.rows)] for i in range(A.rows)]
    p = flint.fmpq_mat(exact).charpoly()
    whole = flint.fmpz_poly([int(x * p.denom()) for x in p.coeffs()])
    with flint.ctx.workprec(300):
        found = whole.complex_roots()
    return [mp.mpc(_middle(z.real), _middle(z.imag)) for z, _ in found]


def _ratio(x: Any) -> tuple[int, int]:
    if mp.im(x) != 0:
        raise TypeError("the characteristic polynomial of real matrices only")
    sign, man, exp, _ = mp.mpf(mp.re(x))._mpf_
    top = (-1) ** sign * int(man)
    return (top << exp, 1) if exp >= 0 else (top, 1 << -exp)


def _middle(x: Any) -> Any:
    man, exp = x.mid().man_exp()
    return mp.ldexp(mp.mpf(int(man)), int(exp))


def stability(c: Any) -> bool:
    found = _transitions(c)
    r = max((_radius(A, c.varying) for A in found), default=mp.mpf(0))
    near = mp.mpf(10) ** -20  # the eigenvalues of a Jordan block have half of the digits
    least, most = map(mp.mpf, c.margin)
    bounds = ((mp.mpf(c.lower), r), (r, mp.mpf(c.upper)), (least, 1 - r), (1 - r, most))
    if not all(a <= b + near for a, b in bounds):
        return False
    return c.verdict == "undecided" or c.verdict == _verdict(found, r, near, c.varying)


def _verdict(found: list[Any], r: Any, near: Any, varying: bool) -> str:
    if r < 1 - near:
        return "contractive" if varying else "stable"
    if r > 1 + near:
        return "none" if varying else "unstable"
    powers = [abs(x) for A in found for x in A**4096]  # of a Jordan block they grow
    return "nonexpansive" if varying else "marginal" if max(powers) < 1000 else "unstable"


JUDGES = {
    "realization": realization,
    "hankel-lower": hankel_lower,
    "hankel-gap": hankel_gap,
    "frobenius-floor": frobenius_floor,
    "distance": distance,
    "stability": stability,
}
