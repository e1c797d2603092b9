"""The least Frobenius error that n states can have: tails of disjoint blocks below the diagonal.

A recurrence with n states has rank <= n in every block M[mid:hi, lo:mid], so it misses at least
the singular values beyond the n-th there (Eckart and Young), and disjoint blocks add in squares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dsf.claims.frobenius import FrobeniusFloor
from dsf.core.certificate import Certificate
from dsf.states.hankel import leading_vectors, proved_singular_values, spread_cuts
from dsf.states.rounding import ROOM, U, fro

Block = tuple[int, int, int]  # lo, mid, hi: the rows mid..hi-1 of the columns lo..mid-1
NOISE = 1e-10  # relative to |M|_F: a floor below it is rounding, and told as 0


def floors(M: np.ndarray, states: Sequence[int]) -> list[Certificate]:
    """For each number of states the larger floor: that of one cut, or of the dyadic blocks.

        one cut   max_k (sum_{j>n} sigma_j(M[k:, :k])^2)^(1/2)
        dyadic    (sum over blocks of sum_{j>n} sigma_j(block)^2)^(1/2)

    M [L L], the strictly lower part of which counts; float64, singular values proved.
    `.lower` is relative to |M|_F, and `.check()` proves it again.
    """
    L = len(M)
    whole = fro(np.tril(M, -1)) or 1.0
    cuts = [(0, k, L) for k in spread_cuts(L)]
    halves = list(dyadic(0, L))
    values = {b: singular_values(M, b) for b in dict.fromkeys(cuts + halves)}
    out = []
    for n in states:
        tails = {b: float(np.sum(s[n:] ** 2)) * (1.0 - len(s) * U) for b, s in values.items()}
        cut = max(cuts, key=tails.__getitem__, default=(0, 0, 0))
        alone = tails.get(cut, 0.0)
        together = sum(tails[b] for b in halves) * (1.0 - len(halves) * U)
        blocks = [b for b in halves if tails[b] > 0] if together > alone else cuts and [cut]
        error = float(np.sqrt(max(alone, together))) / whole * (1.0 - ROOM)
        out.append(_certificate(M, n, error if error > NOISE else 0.0, blocks))
    return out


def _certificate(M: np.ndarray, n: int, error: float, blocks: Sequence[Block]) -> Certificate:
    places = np.array(blocks, dtype=np.int64).reshape(-1, 3)
    return FrobeniusFloor(lower=error, M=M, states=n, blocks=places).certificate()


def singular_values(M: np.ndarray, block: Block) -> np.ndarray:
    """Proved lower bounds of the singular values of a block."""
    lo, mid, hi = block
    H = M[mid:hi, lo:mid]
    return proved_singular_values(H, *leading_vectors(H))


def dyadic(lo: int, hi: int) -> Iterator[Block]:
    """The off-diagonal blocks of halving [lo, hi) down to single steps."""
    if hi - lo > 1:
        mid = (lo + hi) // 2
        yield lo, mid, hi
        yield from dyadic(lo, mid)
        yield from dyadic(mid, hi)
