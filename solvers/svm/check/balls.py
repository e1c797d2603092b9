"""Margin problems in ball arithmetic: rows, margins, norms with proved bounds.

Shared by the checkers of margins and of selections.  Everything is evaluated from the exact data in
Arb balls; singular values come from a float SVD whose residual is enclosed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.reading import require
from dsf.core.errors import CertificateError

BITS = 128
# What float64 may lose of a bound: relative to the bound, and to the moduli of the terms of its
# sums per term (MORE of them: the operations beside the sums).  Both are generous.
LOST, LOST_PER_TERM, MORE = 1e-9, 2.0**-48, 64
ARRAYS = ("keys", "queries", "plus", "minus", "query", "bound", "equality")
NORMS = ("frobenius", "nuclear", "entrywise")


# --------------------------------------------------------------- the problem
@dataclass(frozen=True, eq=False)
class Rows:
    """The data of a problem, checked for consistency."""

    keys: np.ndarray
    queries: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    query: np.ndarray
    bound: np.ndarray
    equality: np.ndarray

    @classmethod
    def consistent(cls, *arrays: np.ndarray) -> Rows:
        """The rows of the arrays `ARRAYS`, or CertificateError if they make no problem."""
        rows = cls(*arrays)
        sizes = {len(x) for x in arrays[2:]}
        require(len(sizes) == 1, f"the arrays of rows have the lengths {sorted(sizes)}")
        for index, low, table in (
            (rows.plus, 0, rows.keys),
            (rows.minus, -1, rows.keys),
            (rows.query, 0, rows.queries),
        ):
            require(bool(np.all((index >= low) & (index < len(table)))), "an index is out of range")
        require(rows.size > 0 and 0 not in rows.shape, "the problem is empty")
        require(bool(np.all(rows.bound >= 0.0)), "right-hand sides must be at least 0")
        require(not np.any(rows.bound[rows.equality]), "equalities must have the right-hand side 0")
        return rows

    def part(self, keep: np.ndarray) -> Rows:
        """The problem with some of its rows."""
        return Rows(self.keys, self.queries, *(getattr(self, n)[keep] for n in ARRAYS[2:]))

    @property
    def size(self) -> int:
        return len(self.plus)

    @property
    def shape(self) -> tuple[int, int]:
        return self.keys.shape[1], self.queries.shape[1]

    def left(self) -> np.ndarray:
        """The differences in float, for sizes only."""
        lost = np.where((self.minus >= 0)[:, None], self.keys[self.minus], 0.0)
        return self.keys[self.plus] - lost

    def exact(self, j: int) -> tuple[list[Any], list[Any]]:
        """Row j as rationals: (difference of keys, query)."""
        import flint

        def q(x: Any) -> Any:
            return flint.fmpq(*float(x).as_integer_ratio())

        left = [q(x) for x in self.keys[self.plus[j]]]
        if self.minus[j] >= 0:
            left = [a - q(x) for a, x in zip(left, self.keys[self.minus[j]], strict=True)]
        return left, [q(x) for x in self.queries[self.query[j]]]


# ------------------------------------------------------------ ball arithmetic
def ZERO() -> Any:
    import flint

    return flint.arb(0)


def matrix(A: np.ndarray) -> Any:
    """A float matrix as exact balls."""
    import flint

    return flint.arb_mat([[float(x) for x in row] for row in A])


def balls(rows: Rows) -> tuple[Any, Any]:
    """(D [N d], Z [N e]): differences and queries of the rows."""
    import flint

    keys = [[flint.arb(float(x)) for x in row] for row in rows.keys]
    left = [
        keys[a] if b < 0 else [x - y for x, y in zip(keys[a], keys[b], strict=True)]
        for a, b in zip(rows.plus, rows.minus, strict=True)
    ]
    return flint.arb_mat(left), matrix(rows.queries[rows.query])


def frobenius(M: Any) -> Any:
    import flint

    squares = sum((x * x for x in M.entries()), ZERO())
    if bool(squares >= 0):
        return squares.sqrt()
    return squares.upper().sqrt() * flint.arb(0.5, 0.5)  # from 0: a ball round 0 has no root


def lengths(rows: Rows) -> list[Any]:
    """|A_j| = |D_j| |Z_j|, rounded up; balls do not underflow."""
    D, Z = (M.tolist() for M in balls(rows))
    return [(_length(x) * _length(z)).upper() for x, z in zip(D, Z, strict=True)]


def _length(row: list[Any]) -> Any:
    return sum((x * x for x in row), ZERO()).sqrt()


def margins(rows: Rows, W: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """(<A_j, W> as balls, |D_j| |W| |Z_j| in float), both of length N."""
    D, Z = balls(rows)
    P = D * matrix(W)
    m = [sum((P[j, k] * Z[j, k] for k in range(W.shape[1])), ZERO()) for j in range(rows.size)]
    size = (np.abs(rows.left()) @ np.abs(W) * np.abs(rows.queries[rows.query])).sum(axis=1)
    return m, size


def primal(rows: Rows, W: np.ndarray, norm: str, p: float | None) -> tuple[Any, float]:
    """(the margin that W proves, what float64 may lose of it)."""
    import flint

    m, size = margins(rows, W)
    length = upper_norm(W, norm, p)
    require(bool(length > 0), "W is zero")
    if np.any(rows.equality):
        off = distance(rows, [abs(x) for x in m])
        m = [x - a * off for x, a in zip(m, lengths(rows), strict=True)]
        length = length + (off if norm == "frobenius" else off * flint.arb(W.size).sqrt())
    found = None
    for j in np.flatnonzero(~rows.equality):
        if rows.bound[j] > 0.0:
            x = (m[j] / flint.arb(float(rows.bound[j]))).lower()
            found = x if found is None or x < found else found
        else:
            require(bool(m[j] >= 0), f"W violates row {j}, whose right-hand side is 0")
    require(found is not None and bool(found > 0), "W does not meet all constraints")
    b = np.where(rows.bound > 0, rows.bound, np.inf)
    spread = (sum(W.shape) + MORE) * LOST_PER_TERM * float(np.max(size / b)) / float(length)
    return found / length, LOST * float(found / length) + spread


def distance(rows: Rows, miss: list[Any]) -> Any:
    """How far the nearest W that meets the equalities exactly can be; see the finder's derivation.

    C the equality rows over their lengths, H = C C', rho = |I - R H|_F < 1 for a float R: the
    correction C' H^-1 r has length at most |r| sqrt(|R|_F / (1 - rho)).
    """
    import flint

    E = np.flatnonzero(rows.equality)
    D, Z = balls(rows.part(E))
    size = lengths(rows.part(E))
    require(all(bool(x > 0) for x in size), "an equality row is zero")
    inverse = flint.arb_mat([[1 / x] for x in size])
    DD, ZZ = D * D.transpose(), Z * Z.transpose()
    n = len(E)
    H = flint.arb_mat(
        [[DD[i, j] * ZZ[i, j] * inverse[i, 0] * inverse[j, 0] for j in range(n)] for i in range(n)]
    )
    middle = np.array([[float(H[i, j].mid()) for j in range(n)] for i in range(n)])
    try:
        R = matrix(np.linalg.inv(middle))
    except np.linalg.LinAlgError as e:
        raise CertificateError("the equalities are dependent") from e
    rho = frobenius(flint.arb_mat(np.eye(n).tolist()) - R * H)
    require(bool(rho < 1), "the equalities are (nearly) dependent")
    r = sum(((miss[j] * inverse[i, 0]) ** 2 for i, j in enumerate(E)), ZERO()).sqrt()
    return r * (frobenius(R) / (1 - rho)).sqrt()


def combination(rows: Rows, lam: np.ndarray) -> tuple[Any, Any, float]:
    """(sum_j lam_j A_j, b'lam as balls, the norm of the sum of the moduli in float)."""
    import flint

    require(bool(np.all((lam >= 0.0) | rows.equality)), "a multiplier is negative")
    D, Z = balls(rows)
    scaled = flint.arb_mat(
        [[Z[j, k] * flint.arb(float(x)) for k in range(Z.ncols())] for j, x in enumerate(lam)]
    )
    weight = sum(
        (flint.arb(float(b)) * flint.arb(float(x)) for b, x in zip(rows.bound, lam, strict=True)),
        ZERO(),
    )
    top = float(np.abs(lam).max(initial=0.0)) or 1.0
    Zf = np.abs(rows.queries[rows.query])
    moduli = np.abs(rows.left()).T @ ((np.abs(lam) / top)[:, None] * Zf)
    most = float(moduli.max(initial=0.0)) or 1.0
    return D.transpose() * scaled, weight, float(np.linalg.norm(moduli / most)) * most * top


def dual(rows: Rows, lam: np.ndarray, norm: str, p: float | None) -> tuple[Any, float]:
    """(the bound that lam proves, what float64 may lose of it)."""
    import flint

    G, weight, moduli = combination(rows, lam)
    require(bool(weight > 0), "no multiplier on a row with a positive right-hand side")
    if norm == "frobenius":
        length = frobenius(G)
    elif norm == "nuclear":
        length = singular_bounds(G)[0]
    else:
        q = flint.arb(float(p or 2.0)) / (flint.arb(float(p or 2.0)) - 1)
        length = power_norm([abs(x).upper() for x in G.entries()], q)
    bound = length / weight
    spread = (rows.size + MORE) * LOST_PER_TERM * moduli / float(weight)
    return bound, LOST * float(bound) + spread


def upper_norm(W: np.ndarray, norm: str, p: float | None) -> Any:
    """An upper bound of the norm of a float matrix."""
    import flint

    if norm == "frobenius":
        return frobenius(matrix(W)).upper()
    if norm == "entrywise":
        entries = [flint.arb(abs(float(x))) for x in W.ravel()]
        return power_norm(entries, flint.arb(float(p or 2.0))).upper()
    S, stretch, rest = factored(matrix(W), W)
    total = sum((flint.arb(float(s)) for s in S), ZERO())
    return (total * stretch + rest * flint.arb(len(S)).sqrt()).upper()


def power_norm(entries: list[Any], p: Any) -> Any:
    total = sum((x**p for x in entries if x > 0), ZERO())
    return total ** (1 / p) if total > 0 else total


def singular_bounds(G: Any) -> list[Any]:
    """Upper bounds of the singular values of every matrix in the balls G, decreasing."""
    import flint

    middle = np.array([[float(G[i, j].mid()) for j in range(G.ncols())] for i in range(G.nrows())])
    S, stretch, rest = factored(G, middle)
    return [(flint.arb(float(s)) * stretch + rest).upper() for s in S]


def factored(G: Any, middle: np.ndarray) -> tuple[np.ndarray, Any, Any]:
    """(S, ||U|| ||V||, ||G - U S V'||_F) for the float SVD of the midpoints."""
    import flint

    U, S, Vt = np.linalg.svd(middle, full_matrices=False)
    rest = frobenius(G - matrix(U) * matrix(np.diag(S)) * matrix(Vt)).upper()
    stretch = flint.arb(1)
    for Q in (U, Vt.T):
        defect = matrix(Q).transpose() * matrix(Q) - matrix(np.eye(len(S)))
        stretch = stretch * (1 + frobenius(defect)).sqrt()
    return S, stretch.upper(), rest


# ---------------------------------------------------------------- small parts
def reproduce(stored: float, proved: Any, spread: float, side: int, what: str) -> None:
    """The stored bound follows from the proved one, and is off by no more than `spread`."""
    import flint

    x = flint.arb(stored)
    follows = x >= proved.upper() if side > 0 else x <= proved.lower()
    require(bool(follows), f"{what} {stored:.17g} does not follow; {float(proved):.17g} does")
    near = abs(x - proved).upper() <= flint.arb(spread)
    require(
        bool(near), f"{what} {stored:.17g} is not what the witnesses give: {float(proved):.17g}"
    )
