"""Fits of frozen students: L-BFGS on all tokens, the strictly lower part of a kernel as target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

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
    M: np.ndarray, family: Family, start: Tokens, iterations: int = ITERATIONS,
    sizes: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Tokens:  # fmt: skip
    """The tokens after L-BFGS from a start, or the start if that is nearer to M [L L].

        min |tril(M - M^(q, k, gates), -1)|_F^2

    over numbers that domains make admissible (`frozen.bound`), times the `sizes` of real tokens
    where these are given.  A local minimum: an upper bound of what the class can do.
    """
    import torch

    mech = frozen.student(family)
    domains = frozen.fields(mech)
    below = torch.tril(torch.ones(M.shape, dtype=torch.float64), -1)
    low = torch.from_numpy(M) * below
    scale = float((low**2).sum()) or 1.0
    units = {k: torch.from_numpy(x) for k, x in sizes.items()}
    x = {k: torch.tensor(frozen.free(d, getattr(start, k) / sizes.get(k, 1.0)), requires_grad=True)
         for k, d in domains.items()}  # fmt: skip
    optimiser = lbfgs(list(x.values()), iterations)

    def bounded() -> Tokens:
        return Tokens(**{k: frozen.bound(d, x[k]) * units.get(k, 1.0) for k, d in domains.items()})

    def loss() -> Any:
        optimiser.zero_grad()
        value = (((frozen.kernel(mech, bounded()) - low) * below) ** 2).sum() / scale
        value.backward()
        return value

    with one_thread():
        optimiser.step(loss)
    found = bounded().map(lambda t: t.detach().numpy())
    before, after = (error(M, frozen.kernel(mech, tok)) for tok in (start, found))
    return found if after < before else start  # a step may lead to what is not a number


def lbfgs(parameters: list[Any], iterations: int) -> Any:
    """L-BFGS with a line search, which ends where nothing changes in double precision."""
    import torch

    return torch.optim.LBFGS(
        parameters, max_iter=iterations, history_size=HISTORY, tolerance_grad=1e-12,
        tolerance_change=1e-14, line_search_fn="strong_wolfe",
    )  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """Kernels and torch on one thread: a step takes a millisecond, less than threads wait."""
    import numba
    import torch

    tensors = torch.get_num_threads()  # first: asking numba may change it
    kernels = numba.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(kernels)
        torch.set_num_threads(tensors)
