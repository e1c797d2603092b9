"""What is measured of one attention head on one sequence: its states with proof, where it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from dsf.states import Realization, realize

CUTS = 16  # at which effective state sizes are averaged
NEAR = 32  # tokens of the window whose share is told
KEPT = 64  # singular values that are kept
SWEEPS = 30  # of the least squares fit of one state
NOT_FINITE = "NaN in what the head read, or a mask that hides all of a row"

Errors = tuple[float, ...]
Counts = tuple[int, int]


@dataclass(frozen=True)
class Head:
    """One head on one sequence; what could not be measured is None and `note` says why.

    module     name of the module that called attention, "" for the model; `call`: how many calls
               that module had made before
    probe      where the input comes from; `sequence` of its batch
    states     relative error: (necessary, sufficient), each proved
    prefixes   tokens: relative error: the same counts of the first tokens alone
    tolerance  relative error: mean number of singular values above it over 16 cuts (ESS)
    entropy    mean exponential entropy of the singular values over the same cuts (ESS)
    spectrum   the largest singular values, over |M|, at the cut that has most above the last error
    rank       |M|_F^2 / |M|_2^2, the stable rank
    sink, previous     mean weight of token 0 in the later half, and of the token before
    induction  mean weight of what followed earlier copies of a token; None if tokens are not known
    spread     mean entropy of a row, in nats
    horizon    mean distance to what is looked at;   near   share of the last 32 tokens
    window     relative error: tokens beyond which everything together weighs at most that
    distances  mechanism: relative Frobenius distance to the nearest of its kernels
    leak       (i, j): row i gives its largest weight on later tokens to j; None if causal
    cross      the keys are of another sequence than the queries; such a head is not counted
    """

    module: str
    call: int
    head: int
    kind: str
    width: int
    group: int
    probe: str
    sequence: int
    tokens: int
    note: str = ""
    states: dict[float, Counts] = field(default_factory=dict)
    prefixes: dict[int, dict[float, Counts]] = field(default_factory=dict)
    tolerance: dict[float, float] = field(default_factory=dict)
    entropy: float | None = None
    spectrum: tuple[float, ...] = ()
    rank: float | None = None
    sink: float | None = None
    previous: float | None = None
    induction: float | None = None
    spread: float | None = None
    horizon: float | None = None
    near: float | None = None
    window: dict[float, int] = field(default_factory=dict)
    distances: dict[str, float] = field(default_factory=dict)
    leak: tuple[int, int] | None = None
    cross: bool = False

    @property
    def place(self) -> tuple[str, int, int]:
        """Which head it is: module, call, head."""
        return self.module, self.call, self.head

    @property
    def closest(self) -> str | None:
        """The mechanism with the least of `distances`."""
        return min(self.distances, key=lambda name: self.distances[name], default=None)

    def slope(self, rtol: float) -> float | None:
        """States per doubling of the length: least squares of the middle of the counts."""
        counts = {L: c[rtol] for L, c in self.prefixes.items()} | {self.tokens: self.states[rtol]}
        if len(counts) < 2:
            return None
        middle = [(low + high) / 2 for low, high in counts.values()]
        return float(np.polyfit(np.log2(list(counts)), middle, 1)[0])

    def to_data(self) -> dict[str, Any]:
        data = asdict(self)
        data["prefixes"] = [[L, _pairs(c)] for L, c in self.prefixes.items()]
        for name in ("states", "tolerance", "window"):
            data[name] = _pairs(data[name])
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        read = dict(data)
        read["states"] = _counts(data["states"])
        read["prefixes"] = {int(L): _counts(c) for L, c in data["prefixes"]}
        read["tolerance"] = {float(e): float(x) for e, x in data["tolerance"]}
        read["window"] = {float(e): int(x) for e, x in data["window"]}
        read["spectrum"] = tuple(map(float, data["spectrum"]))
        read["leak"] = None if data["leak"] is None else tuple(map(int, data["leak"]))
        return cls(**read)


def _pairs(found: Mapping[float, Any]) -> list[Any]:
    return [[e, list(x) if isinstance(x, tuple) else x] for e, x in found.items()]


def _counts(pairs: Sequence[Any]) -> dict[float, Counts]:
    return {float(e): (int(x[0]), int(x[1])) for e, x in pairs}


def measure(
    M: np.ndarray, ids: np.ndarray | None, rtol: Errors, lengths: tuple[int, ...],
    time_limit: float, keep: bool, about: Mapping[str, Any],
) -> tuple[Head, tuple[Realization, ...]]:  # fmt: skip
    """A row for the weights M [L T] of a head and, to `keep`, the proofs of its counts.

    `ids` [L] are the tokens, `lengths` those of prefixes that are counted, too.
    """
    L, T = M.shape
    about, told = {**about, "tokens": L, "note": ""}, about.get("note")
    if about.get("cross"):
        note = f"cross attention, {L} queries on {T} keys of another sequence"
        return Head(**{**about, "note": note}), ()
    if L != T:
        note = f"{L} queries on {T} keys, as in cached decoding: no map of a sequence to itself"
        return Head(**{**about, "note": note}), ()
    bad = int(np.sum(~np.isfinite(M).all(1)))
    if bad:
        note = f"weights are not finite in {bad} of {L} rows: {NOT_FINITE}"
        return Head(**{**about, "note": note}), ()
    notes = [told] if told else []
    blind, unseen = (int(np.sum(M.sum(axis) == 0)) for axis in (1, 0))
    notes += [f"{blind} of {L} tokens see nothing"] if blind else []
    notes += [f"{unseen} of {L} tokens are seen by none, as padding is"] if unseen else []
    found = realize(M, rtol=rtol, time_limit=time_limit)
    leak = leaks(M)
    shorter = {
        n: dict(zip(rtol, _bounds(realize(M[:n, :n], rtol=rtol, time_limit=time_limit)),
                    strict=True))
        for n in lengths if 1 < n < L and leak is None
    }  # fmt: skip
    measured = {**_sizes(M, rtol), **looks(M), "distances": distances(M), "leak": leak}
    measured |= {"induction": induction(M, ids), "window": window(M, rtol)}
    states = dict(zip(rtol, _bounds(found), strict=True))
    note = "; ".join(notes)
    row = Head(**{**about, **measured, "states": states, "prefixes": shorter, "note": note})
    return row, found if keep else ()


def _bounds(found: Sequence[Realization]) -> list[Counts]:
    return [(int(f.lower), int(f.upper)) for f in found]


# ---------------------------------------------------------------------- singular values
def _sizes(M: np.ndarray, rtol: Errors) -> dict[str, Any]:
    L = len(M)
    norm = float(np.linalg.norm(M, 2)) if L else 0.0
    spectra = _spectra(M)
    above = [[int(np.sum(s > e * norm)) for s in spectra] or [0] for e in rtol]
    busiest = spectra[int(np.argmax(above[-1]))][:KEPT] if spectra and norm else np.zeros(0)
    return {
        "tolerance": {e: float(np.mean(counts)) for e, counts in zip(rtol, above, strict=True)},
        "entropy": _mean_entropy(spectra),
        "spectrum": tuple((busiest / norm).tolist()) if norm else (),
        "rank": float(np.sum(M * M)) / norm**2 if norm else 0.0,
    }


def entropy(M: np.ndarray) -> float:
    """The mean over 16 cuts of the exponential entropy of the singular values of M [L L]."""
    return _mean_entropy(_spectra(M))


def _spectra(M: np.ndarray) -> list[np.ndarray]:
    L = len(M)
    cuts = np.unique(np.linspace(1, L - 1, CUTS).astype(int)) if L > 1 else np.zeros(0, int)
    return [np.linalg.svd(M[c:, :c], compute_uv=False) for c in cuts]


def _mean_entropy(spectra: Sequence[np.ndarray]) -> float:
    return float(np.mean([_entropy(s) for s in spectra] or [0.0]))


def _entropy(s: np.ndarray) -> float:
    p = s[s > 0] / max(s.sum(), np.finfo(float).tiny)
    return float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0


# ---------------------------------------------------------------------- where it looks
def leaks(M: np.ndarray) -> tuple[int, int] | None:
    """(i, j) of the largest weight on a later token; None for a causal M."""
    above = np.triu(np.abs(M), 1)
    if not above.any():
        return None
    i, j = np.unravel_index(int(above.argmax()), M.shape)
    return int(i), int(j)


def looks(M: np.ndarray) -> dict[str, float | None]:
    """Where a head with weights M [L L] looks, whatever the tokens are."""
    L = len(M)
    i, j = np.indices(M.shape)
    far = np.abs(i - j)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(M > 0, np.log(M), 0.0)
    return {
        "sink": float(M[L // 2 :, 0].mean()) if L else None,
        "previous": float(np.diagonal(M, -1).mean()) if L > 1 else None,
        "spread": float(-(M * logs).sum(1).mean()) if L else None,
        "horizon": float((M * far).sum(1).mean()) if L else None,
        "near": float(np.where(far < NEAR, M, 0.0).sum(1).mean()) if L else None,
    }


def induction(M: np.ndarray, ids: np.ndarray | None) -> float | None:
    """Mean over rows i of sum_j M[i, j+1] over earlier j with the token of i; None without any."""
    if ids is None:
        return None
    earlier = np.tril(np.equal.outer(ids, ids), -1)
    rows = earlier.any(1)
    after = np.zeros_like(earlier)
    after[:, 1:] = earlier[:, :-1]
    return float((M * after)[rows].sum(1).mean()) if rows.any() else None


def window(M: np.ndarray, rtol: Errors) -> dict[float, int]:
    """The least w for which |M_ij with |i - j| >= w| <= rtol |M|, by `beyond`."""
    if not len(M):
        return dict.fromkeys(rtol, 0)
    norm, rest = float(np.linalg.norm(M, 2)), beyond(M)
    return {e: int(np.argmax(rest <= e * norm)) for e in rtol}


def beyond(M: np.ndarray) -> np.ndarray:
    """[L+1]: of what is w or more tokens away a bound, |X|_2^2 <= |X|_1 |X|_inf."""
    L = len(M)
    i, j = np.indices(M.shape)
    sums = np.zeros((2, L, L + 1))  # of rows, of columns; at distance
    for axis, lines in enumerate((i, j)):
        np.add.at(sums[axis], (lines, np.abs(i - j)), np.abs(M))
    most = np.cumsum(sums[..., ::-1], -1)[..., ::-1].max(1, initial=0.0)  # [2 L+1]
    return np.asarray(np.sqrt(most[0] * most[1]))


def distances(M: np.ndarray) -> dict[str, float]:
    """|M - X|_F / |M|_F for the nearest causal X of a kind, diagonal included.

    s4d            X_ij = x_{i-j}: any time-invariant system, exact
    softmax window X_ij = 0 from 32 tokens on, exact; for at least 64 tokens
    linear_attn    X_ij = c_i b_j: one state (a decay changes only c and b), by alternating least
                   squares, so an upper bound
    """
    L = len(M)
    whole = float(np.linalg.norm(M))
    if not whole:
        return {}
    i, j = np.indices(M.shape)
    later = float(np.sum(np.triu(M, 1) ** 2))
    lags = [np.diagonal(M, -k) for k in range(L)]
    free = later + sum(float(np.sum((x - x.mean()) ** 2)) for x in lags)
    found = {"s4d": free**0.5 / whole}
    if L >= 2 * NEAR:
        found["softmax window"] = float(np.linalg.norm(np.where(i - j < NEAR, M, 0.0) - M)) / whole
        found["softmax window"] = (found["softmax window"] ** 2 + later / whole**2) ** 0.5
    seen = np.tril(np.ones((L, L)))
    lower = np.tril(M)
    b = np.ones(L)
    for _ in range(SWEEPS):
        c = (lower @ b) / np.maximum(seen @ b**2, np.finfo(float).tiny)
        b = (lower.T @ c) / np.maximum(seen.T @ c**2, np.finfo(float).tiny)
    rest = float(np.sum((lower - seen * np.outer(c, b)) ** 2))
    found["linear_attn"] = (later + rest) ** 0.5 / whole
    return found
