"""Fits of frozen students: L-BFGS on all tokens, the strictly lower part of a kernel as target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsf.core.family import Family
from dsf.core.tokens import Tokens
from dsf.models.distil import frozen

ITERATIONS = 300
HISTORY = 20  # pairs that L-BFGS remembers


def error(M: np.ndarray, fitted: np.ndarray) -> float:
    """|M - M^|_F / |M|_F over the strictly lower parts: the skip of a student is free."""
    low, other = np.tril(M, -1), np.tril(fitted, -1)
    whole = float(np.linalg.norm(low))
    return float(np.linalg.norm(low - other)) / whole if whole else float(np.linalg.norm(other))


def fit(
    M: np.ndarray, family: Family, start: Tokens, iterations: int = ITERATIONS
) -> tuple[Tokens, float]:
    """The tokens after L-BFGS from a start, and the error they reach; never above the start's.

        min |tril(M - M^(q, k, gates), -1)|_F^2

    over numbers that domains make admissible (`frozen.bound`).  A local minimum: an upper bound of
    what the class can do.
    """
    import torch

    mech, domains = frozen.student(family), frozen.fields(family)
    low = torch.from_numpy(np.tril(M, -1))
    scale = float((low**2).sum()) or 1.0
    x = {k: torch.tensor(frozen.free(d, getattr(start, k)), requires_grad=True)
         for k, d in domains.items()}  # fmt: skip
    optimiser = torch.optim.LBFGS(
        list(x.values()), max_iter=iterations, history_size=HISTORY, tolerance_grad=1e-12,
        tolerance_change=1e-14, line_search_fn="strong_wolfe",
    )  # fmt: skip
    best, least = start, error(M, frozen.kernel(mech, start))

    def loss() -> float:
        optimiser.zero_grad()
        value = ((frozen.kernel(mech, bounded()).tril(-1) - low) ** 2).sum() / scale
        value.backward()
        return value

    def bounded() -> Tokens:
        return Tokens(**{k: frozen.bound(d, x[k]) for k, d in domains.items()})

    optimiser.step(loss)
    found = bounded().map(lambda t: t.detach().numpy())
    reached = error(M, frozen.kernel(mech, found))
    return (found, reached) if reached < least else (best, least)


def random_start(M: np.ndarray, family: Family, n: int, rng: np.random.Generator) -> Tokens:
    """Tokens drawn from their domains."""
    shapes = frozen.sizes(frozen.student(family), n, len(M))
    spec: Mapping[str, object] = frozen.fields(family)
    return Tokens(**{k: spec[k].sample(rng, shape) for k, shape in shapes.items()})
