"""Lower bounds on the Frobenius error of a number of states, from disjoint blocks of an operator.

A system with n states has rank at most n in every block of rows mid..hi-1 and columns lo..mid-1, so
it misses what lies beyond the n-th singular value there, and disjoint blocks add in squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import at_most, floats, integers, require, size, witness
from dsf.claims.singular import SLACK, TINY, g
from dsf.claims.singular import size as norm
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least, n_states

MOST = 10**9  # states: far above the length of any stored operator


@dataclass(frozen=True, eq=False, kw_only=True)
class FrobeniusFloor(Claim, kind="frobenius-floor"):
    """`lower` |M|_F is the least error of `states` states, over the strictly lower parts.

    blocks [K 3] are rows (lo, mid, hi) of disjoint blocks M[mid:hi, lo:mid].
    """

    scope, strength = Scope.OPERATOR, Strength.ENCLOSED
    reference = "eckart1936"
    lower: float = witness(size)
    M: np.ndarray = witness(floats(None, None))
    states: int = witness(at_most(MOST))
    blocks: np.ndarray = witness(integers(None, 3))

    @property
    def statement(self) -> str:
        many = f"{len(self.blocks)} blocks" if len(self.blocks) != 1 else "one block"
        return (
            f"{n_states(self.states)}: strictly below the diagonal the error is at least "
            f"{at_least(self.lower, 6)} |M| in the Frobenius norm ({many})"
        )

    def check(self) -> None:
        L = len(self.M)
        require(self.M.shape == (L, L), f"M must be square; got {self.M.shape}")
        seen = np.zeros((L, L), dtype=bool)
        total = 0.0
        for lo, mid, hi in self.blocks.tolist():
            require(0 <= lo < mid < hi <= L, f"({lo}, {mid}, {hi}) is no block below the diagonal")
            require(not seen[mid:hi, lo:mid].any(), "two blocks overlap")
            seen[mid:hi, lo:mid] = True
            total += tail(self.M[mid:hi, lo:mid], self.states) ** 2 * (1 - SLACK)
        proved = np.sqrt(total) * (1 - SLACK)
        follows = self.lower == 0.0 or self.lower * norm(np.tril(self.M, -1)) <= proved
        require(follows, f"only an error of {proved:.6g} follows")


def tail(H: np.ndarray, n: int) -> float:
    """A lower bound of (sum_{j>n} sigma_j(H)^2)^(1/2).

    For U, V whatever with T = U'HV, sigma_j(T) <= ||U||_2 ||V||_2 sigma_j(H).  By Mirsky's theorem
    the tail of T is at least that of its sorted diagonal less ||T - diag T||_F; rounding as in
    `dsf.claims.singular.smallest`.
    """
    U, _, Vt = np.linalg.svd(H, full_matrices=False)
    V = Vt.T
    left = U.T @ H
    T = left @ V
    d = np.sort(np.abs(np.diag(T)))[::-1][n:]
    rest = norm(T - np.diag(np.diag(T)))
    two_u, two_v = (
        np.sqrt(1 + norm(X.T @ X - np.eye(X.shape[1])) + g(X.shape[0] + 2) * norm(X) ** 2)
        for X in (U, V)
    )
    lost = g(len(U)) * norm(U) * norm(H) * two_v + g(len(V)) * norm(left) * norm(V) + TINY
    value = (float(np.linalg.norm(d)) * (1 - SLACK) - (rest + lost) * (1 + SLACK)) / (two_u * two_v)
    return max(float(value), 0.0) * (1 - SLACK)
