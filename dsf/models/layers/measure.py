"""What is measured of one layer on one sequence: how many of its states work, with proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from dsf.core.certificate import Certificate
from dsf.core.errors import DSFError
from dsf.core.system import LTV
from dsf.jacobians.products import Products
from dsf.models.head import leaks
from dsf.models.layers import memory
from dsf.models.layers.find import Layer
from dsf.models.layers.linear import Linear
from dsf.states import Realization, hankel_lower, realize

SMALL = 768  # rows or columns of a kernel that is formed and realized
SKETCH = 192  # rows of a kernel that is looked at in a few directions
KEPT = 64  # singular values that are kept
CUTS = 16  # at which singular values are counted

Counts = tuple[int, int]
Proof = Realization | Certificate


@dataclass(frozen=True)
class Row:
    """One layer on one sequence, frozen around it; what could not be measured is None, see `note`.

    own        states that the layer keeps; None: not known
    states     relative error: (necessary, sufficient) states of a linear system for the same map
    how        "kernel": both numbers are proved for the kernel in floats.  "blocks": necessary is
               proved for n x n compressions of the Hankel blocks, sufficient that of a truncation
               whose error was tested by the bounded real lemma in float64.  "sketch": necessary is
               proved for the kernel between random directions, so the map needs at least that;
               sufficient is `own` or the size of a block.  In the last two the error is in units of
               `norm`, which is |M| from below
    tolerance  relative error: mean number of singular values above it over 16 cuts, of what looks
               back (of what looks ahead: the necessary states count it)
    spectrum   the largest singular values over |M| at the cut with most above the last error
    norm       |M|_2 of the map
    radius     the largest spectral radius of a step;   rate   |A_L .. A_1|^(1/L)
    growth     max_t |A_t .. A_1|: above 1 a change of the first state grows on the way
    horizon    mean distance of what an output depends on, weighed by |M_ij|_F
    leak       (i, j): row i depends most on a later token j; None if causal
    probe      the input of the model, where it was inspected as a whole
    """

    module: str
    call: int
    kind: str
    width: int
    outputs: int
    sequence: int
    tokens: int
    own: int | None
    note: str = ""
    how: str = ""
    states: dict[float, Counts] = field(default_factory=dict)
    tolerance: dict[float, float] = field(default_factory=dict)
    spectrum: tuple[float, ...] = ()
    norm: float | None = None
    radius: float | None = None
    rate: float | None = None
    growth: float | None = None
    horizon: float | None = None
    leak: tuple[int, int] | None = None
    probe: str = ""

    def to_data(self) -> dict[str, Any]:
        data = asdict(self)
        for name in ("states", "tolerance"):
            data[name] = [[e, x] for e, x in data[name].items()]
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        read = dict(data)
        read["states"] = {float(e): (int(x[0]), int(x[1])) for e, x in data["states"]}
        read["tolerance"] = {float(e): float(x) for e, x in data["tolerance"]}
        read["spectrum"] = tuple(map(float, data["spectrum"]))
        read["leak"] = None if data["leak"] is None else tuple(map(int, data["leak"]))
        return cls(**read)


def row(
    layer: Layer, rtol: Sequence[float] = (0.1, 0.01), time_limit: float = 10.0, sequence: int = 0
) -> tuple[Row, tuple[Proof, ...]]:
    """A row for a layer that `run` has seen, and the proofs of its counts, one per error.

        necessary = max_k #{j : sigma_j(M[k:, :k]) > rtol |M|}  <=  states  <=  sufficient

    M are the blocks dy_i / du_j along the run.  A layer that cannot be measured gives a row whose
    note says why.  `time_limit` seconds are for the search on a kernel; the other two ways, see
    `Row`, do a fixed amount of work.  Source of the counts: `dsf.realize`.

    >>> import torch
    >>> from dsf.models.layers import run
    >>> delay = torch.nn.Conv1d(1, 1, 3, bias=False, padding=2)
    >>> delay.weight.data = torch.tensor([[[1.0, 0.0, 0.0]]])
    >>> rows = []
    >>> y = run(delay, (torch.zeros(1, 1, 8),), {}, lambda layer: rows.append(row(layer)[0]))
    >>> rows[0].own, rows[0].states
    (2, {0.1: (2, 2), 0.01: (2, 2)})
    """
    errors = tuple(map(float, rtol))
    about: dict[str, Any] = {
        "module": layer.module, "call": layer.call, "kind": layer.kind, "width": layer.width,
        "outputs": 0, "sequence": sequence, "tokens": layer.tokens, "own": layer.states,
    }  # fmt: skip
    try:
        linear = layer.linearise(sequence)
        L, r, *_ = linear.shape
        about |= {"outputs": r, "tokens": L, "own": linear.states}
        measured, proofs = _measured(linear, errors, time_limit)
    except DSFError as e:
        return Row(**about, note=str(e)), ()
    return Row(**about, note=linear.note, **measured, **_growth(linear)), proofs


def _measured(
    linear: Linear, rtol: tuple[float, ...], time_limit: float
) -> tuple[dict[str, Any], tuple[Proof, ...]]:
    L, r, _, d = linear.shape
    if L * max(r, d) <= SMALL:
        return _of_kernel(linear, rtol, time_limit)
    if linear.products is None:
        return _of_blocks(linear, rtol)
    return _of_sketch(linear, linear.products, rtol)


# ---------------------------------------------------------------------- a kernel that is formed
def _of_kernel(
    linear: Linear, rtol: tuple[float, ...], time_limit: float
) -> tuple[dict[str, Any], tuple[Proof, ...]]:
    K = linear.kernel()
    L, r, _, d = K.shape
    found = realize(K, rtol=rtol, time_limit=time_limit)
    states = {e: (int(f.lower), int(f.upper)) for e, f in zip(rtol, found, strict=True)}
    norm = float(np.linalg.norm(K.reshape(L * r, L * d), 2))
    measured = {"how": "kernel", "states": states, **_spectra(_cuts(K), norm, rtol)}
    return measured | _looks(np.linalg.norm(K, axis=(1, 3))), found


def _cuts(K: np.ndarray) -> list[np.ndarray]:
    """Singular values of the block from the past to the future, at every cut."""
    L, r, _, d = K.shape
    M = K.reshape(L * r, L * d)
    return [np.linalg.svd(M[k * r :, : k * d], compute_uv=False) for k in range(1, L)]


def _counts(linear: Linear, lower: float, upper: float) -> Counts:
    """The layer is a system for its own map, too."""
    own = np.inf if linear.states is None else linear.states
    return int(lower), int(min(upper, own))


def _spectra(spectra: Sequence[np.ndarray], norm: float, rtol: tuple[float, ...]) -> dict[str, Any]:
    most_cuts = min(CUTS, len(spectra))
    places = np.unique(np.linspace(0, len(spectra) - 1, most_cuts).astype(int))
    above = {e: [int(np.sum(spectra[i] > e * norm)) for i in places] or [0] for e in rtol}
    most = max(spectra, key=lambda s: int(np.sum(s > rtol[-1] * norm)), default=np.zeros(0))
    return {
        "tolerance": {e: float(np.mean(n)) for e, n in above.items()},
        "spectrum": tuple((most[:KEPT] / norm).tolist()) if norm else (),
        "norm": norm,
    }


def _looks(sizes: np.ndarray) -> dict[str, Any]:
    """Of |M_ij| [L L]: how far back, and whether later tokens are seen."""
    i, j = np.indices(sizes.shape)
    total = float(sizes.sum())
    return {
        "horizon": float((sizes * np.abs(i - j)).sum() / total) if total else None,
        "leak": leaks(sizes),
    }


# ---------------------------------------------------------------------- systems that are known
def _of_blocks(linear: Linear, rtol: tuple[float, ...]) -> tuple[dict[str, Any], tuple[Proof, ...]]:
    """Necessary states from the Hankel blocks of the system, which are never formed."""
    [stage] = linear.stages
    ways = [stage.forward] + ([] if stage.backward is None else [stage.backward])
    norm = max(map(memory.norm, ways))  # |[F; B]| >= max(|F|, |B|)
    balanced = [memory.Balanced(ltv) for ltv in ways]
    states, proofs = {}, []
    for e in rtol:
        necessary = sufficient = 0
        for way in balanced:
            k = int(np.argmax(np.sum(way.values > e * norm, axis=1)))
            proof = hankel_lower(_two_steps(way.blocks[k]), e * norm)
            necessary += int(proof.lower or 0)
            proofs.append(proof)
            sufficient += way.sufficient(e * norm / len(ways) ** 0.5)
        states[e] = _counts(linear, necessary, sufficient)
    sizes = _sampled(ways[0])
    if len(ways) > 1:
        sizes = sizes + _sampled(ways[1])[::-1, ::-1]
    measured = {
        "how": "blocks",
        "states": states,
        **_spectra(list(balanced[0].values[1:-1]), norm, rtol),
    }
    return measured | _looks(sizes), tuple(proofs)


def _two_steps(X: np.ndarray) -> np.ndarray:
    """A block as an operator on two tokens [2 n 2 n]: the second sees the first through it."""
    K = np.zeros((2, len(X), 2, len(X)))
    K[1, :, 0, :] = X
    return K


def _sampled(ltv: LTV, columns: int = 4) -> np.ndarray:
    """|M_ij V| [L L] for a few random directions V: in the mean over V a multiple of |M_ij|_F."""
    L = ltv.length
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((ltv.r, columns)), rng.standard_normal((ltv.m, columns))
    B, C, D = (memory.coefficients(x, L) for x in (ltv.B, ltv.C, ltv.D))
    small = LTV(ltv.A, B @ V, U.T @ C, U.T @ D @ V, read="before", steps=L)
    return np.asarray(np.linalg.norm(small.kernel(), axis=(1, 3)))


def _growth(linear: Linear) -> dict[str, Any]:
    if len(linear.stages) != 1:
        return {}
    return dict(zip(("radius", "rate", "growth"), memory.growth(linear.stages[0].forward),
                    strict=True))  # fmt: skip


# ---------------------------------------------------------------------- derivatives alone
def _of_sketch(
    linear: Linear, products: Products, rtol: tuple[float, ...]
) -> tuple[dict[str, Any], tuple[Proof, ...]]:
    """|U'(M - M^)V| <= |M - M^| for orthonormal U, V: what the sketch needs, the map needs."""
    L, r, _, d = linear.shape
    rng = np.random.default_rng(0)
    few = max(SKETCH // L, 1)
    U, V = (np.linalg.qr(rng.standard_normal((n, min(few, n))))[0] for n in (r, d))
    K = products.between(U, V)
    norm = _norm(products)
    turned = K[::-1, :, ::-1]  # later tokens, seen from the end, are a system of their own
    ways = [K, turned] if any(np.triu(np.linalg.norm(K, axis=(1, 3)), 1).flat) else [K]
    found = {e: [hankel_lower(X, e * norm) for X in ways] for e in rtol}
    most = len(ways) * max((min(k * d, (L - k) * r) for k in range(L)), default=0)
    states = {e: _counts(linear, sum(int(p.lower or 0) for p in f), most)
              for e, f in found.items()}  # fmt: skip
    measured = {"how": "sketch", "states": states, **_spectra(_cuts(K), norm, rtol)}
    looks = _looks(np.linalg.norm(K, axis=(1, 3)))
    return measured | looks, tuple(p for f in found.values() for p in f)


def _norm(products: Products, steps: int = 12) -> float:
    """|M|_2 from below, by power iteration on M'M."""
    L, _, _, d = products.shape
    x, found = np.random.default_rng(0).standard_normal((L, d, 1)), 0.0
    for _ in range(steps):
        size = float(np.linalg.norm(x))
        if not size:
            return 0.0
        y = products.times(x / size)
        found = float(np.linalg.norm(y))
        x = products.adjoint(y)
    return found
