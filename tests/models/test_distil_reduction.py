"""Recurrent layers to fewer states: proved errors, and the order that Lyapunov equations give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

import dsf
from dsf.core.errors import DomainError, ShapeError

L = 96


def classical_order(A, B, C, error):
    """The least order whose bound 2 (sum of the Hankel singular values left out) is <= error."""
    P = solve_discrete_lyapunov(A, B @ B.T)
    Q = solve_discrete_lyapunov(A.T, C.T @ C)
    s = np.sort(np.sqrt(np.maximum(np.linalg.eigvals(P @ Q).real, 0)))[::-1]
    tails = 2 * np.append(np.cumsum(s[::-1])[::-1], 0.0)
    return int(np.argmax(tails <= error))


def stable(seed, largest):
    """A, B, C of a random discrete system with spectral radius up to `largest`, and its kernel."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 17))
    A = rng.standard_normal((n, n))
    A *= rng.uniform(0.7, largest) / np.abs(np.linalg.eigvals(A)).max()
    B, C = rng.standard_normal((n, 1)), rng.standard_normal((1, n))
    return A, B, C, kernel(A, B, C)


def kernel(A, B, C):
    return dsf.LTV(dsf.Dense(A[None]), B[None], C[None], read="before", steps=L).kernel()


def by_pymor(A, B, C):
    """Bounds of the errors of r = 1, 2, .. states, and the reduced matrices for r."""
    from pymor.core.logger import set_log_levels
    from pymor.models.iosys import LTIModel
    from pymor.reductors.bt import BTReductor

    set_log_levels({"pymor": "ERROR"})
    reductor = BTReductor(LTIModel.from_matrices(A, B, C, sampling_time=1))

    def reduced(r):
        return reductor.reduce(r, projection="sr").to_matrices()[:3]

    return reductor.error_bounds(), reduced


def by_slycot(A, B, C):
    """The same of SLICOT's AB09AD."""
    from slycot import ab09ad

    n = len(A)

    def reduced(r):
        return ab09ad("D", "B", "N", n, 1, 1, A, B, C, nr=r)[1:4]

    s = ab09ad("D", "B", "N", n, 1, 1, A, B, C, nr=n)[4]
    return 2 * np.cumsum(s[:0:-1])[::-1], reduced


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.01])
@pytest.mark.parametrize(("package", "truncation"), [("pymor", by_pymor), ("slycot", by_slycot)])
def test_against_balanced_truncation_of_others(package, truncation, share):
    """25 random systems: states for an error of `share` of the norm, on 96 tokens.

    Never more than their bound proves enough, and on the whole no more than their reduced models
    need, whose kernels are measured; the proved lower count is never above these.
    """
    pytest.importorskip(package)
    lower, ours, proved, reached = [], [], [], []
    for seed in range(25):
        A, B, C, M = stable(seed, 0.97)
        n, error = len(A), share * np.linalg.norm(M, 2)
        bounds, reduced = truncation(A, B, C)
        proved.append(1 + next(r for r, bound in enumerate([*bounds, 0.0]) if bound <= error))
        near = (r for r in range(1, n) if np.linalg.norm(M - kernel(*reduced(r)), 2) <= error)
        reached.append(next(near, n))
        found = dsf.realize(M, atol=error)
        lower.append(found.lower)
        ours.append(found.upper)
    assert all(a <= b for a, b in zip(ours, proved, strict=True))
    assert all(a <= b for a, b in zip(lower, reached, strict=True))
    assert sum(ours) <= sum(reached)


@pytest.mark.parametrize("seed", range(6))
def test_never_more_states_than_the_classical_bound(seed):
    rng = np.random.default_rng(seed)
    n = 8
    A = rng.standard_normal((n, n))
    A *= 0.9 / np.abs(np.linalg.eigvals(A)).max()
    B, C = rng.standard_normal((n, 1)), rng.standard_normal((1, n))
    ltv = dsf.LTV(dsf.Dense(A[None]), B[None], C[None], read="before", steps=L)
    M = ltv.kernel()
    error = 0.05 * np.linalg.norm(M, 2)
    order = classical_order(A, B, C, error)
    assert dsf.realize(M, atol=error).upper <= order
    found = dsf.distil(ltv, "ltv", max(order, 1))
    assert found.error <= error * (1 + 1e-9) and found.system.n <= max(order, 1)
    assert found.check()


@pytest.mark.parametrize("name", ["s4d", "lru", "mamba"])
def test_layers_of_the_catalogue(name):
    u = np.random.default_rng(0).standard_normal((32, 2))
    mech = dsf.family(name).init(2, n=8, seed=0)
    found = dsf.distil(mech, "ltv", 3, inputs=u)
    assert found.lower <= found.upper and found.check()
    norm = np.linalg.norm(mech.kernel(u).reshape(-1, 32, 32) if name != "lru"
                          else mech.kernel(u).reshape(1, 64, 64), 2, axis=(1, 2))  # fmt: skip
    assert found.error <= found.upper * norm.max() * (1 + 1e-6)


def test_what_is_refused():
    with pytest.raises(ShapeError, match="inputs"):
        dsf.distil(dsf.s4d.init(2, n=4), "ltv", 2)
    with pytest.raises(DomainError, match="one number"):
        dsf.distil(np.tril(np.ones((4, 4))), "ltv", (1, 2))
