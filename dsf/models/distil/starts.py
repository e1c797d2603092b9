"""Where the fit of a class starts: a realization where one is known, else fewer states."""

from __future__ import annotations

import numpy as np

from dsf.core import catalogue
from dsf.core.family import Family
from dsf.core.fields import REAL
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.models.distil import fit, frozen, gauge

NOISE = 0.05  # of the queries and keys of new states
WIDEST = 300.0  # of logarithms of sizes: a query, a key and their product are far from overflow


Fits = dict[int, tuple[Tokens, Tokens]]  # by number of states: where a fit started and ended


def best(
    M: np.ndarray, family: Family, n: int, seed: int, iterations: int, kept: Fits
) -> tuple[Tokens, Tokens]:
    """Start and end of the fit of a frozen student with n states to M [L L]; entered in `kept`.

    gla, rwkv6       the QR gauge of the truncation with the smaller error
    gated_deltanet   the fitted GLA in the max-decay gauge
    deltanet         the fitted GLA, all decay by erasing
    mamba2           the fitted GLA, what its channels decay beyond their mean in queries and keys
    others           one state, then twice as many, each fit started from the last one
    """
    if n in kept:
        return kept[n]
    sizes: dict[str, np.ndarray] = {}
    if family.cls.name == "gla":
        start = gauge.gla(truncated(M, n))
    elif family.cls.name in ("gated_deltanet", "deltanet"):
        gated = family.cls.name == "gated_deltanet"
        start = gauge.delta(fitted_gla(M, n, iterations), gated)
    elif family.cls.name == "mamba2":
        start, sizes = gauge.ssd(fitted_gla(M, n, iterations), WIDEST)
    elif family.cls.name == "rwkv6":
        start = gauge.rwkv6(truncated(M, n))
    elif n == 1:
        start = one_state(M, family, seed)
    else:
        fewer = best(M, family, (n + 1) // 2, seed, iterations, kept)[1]
        start = grown(fewer, family, n, np.random.default_rng((seed, n)))
    kept[n] = start, fit.fit(M, family, start, iterations, sizes)
    return kept[n]


def truncated(M: np.ndarray, n: int) -> LTV:
    """Balanced or sequential truncation of M to n states, whichever is nearer to it."""
    systems = (gauge.sequential(M, n), gauge.balanced(M, n))
    return min(systems, key=lambda system: fit.error(M, system.kernel()))


def fitted_gla(M: np.ndarray, n: int, iterations: int) -> Tokens:
    """The frozen GLA of n states, fitted: other classes start from its kernel."""
    return fit.fit(M, catalogue.family("gla"), gauge.gla(truncated(M, n)), iterations)


def one_state(M: np.ndarray, family: Family, seed: int) -> Tokens:
    """Tokens of one state, drawn from their domains."""
    rng = np.random.default_rng((seed, 1))
    mech = frozen.student(family)
    shapes = frozen.sizes(mech, 1, len(M))
    return Tokens(**{k: d.sample(rng, shapes[k]) for k, d in frozen.fields(mech).items()})


def grown(tok: Tokens, family: Family, n: int, rng: np.random.Generator) -> Tokens:
    """Tokens of n states, the first of them those of `tok`.

    New real entries are noise of size 0.05, new gates of channels copies of the last one.
    """
    spec = family.spec

    def wider(name: str, x: np.ndarray) -> np.ndarray:
        field = spec[name]
        if field.axes[-1] != "n":
            return x
        more = (*x.shape[:-1], n - x.shape[-1])
        if field.domain == REAL or field.domain.unit:
            x = np.concatenate([x, NOISE * rng.standard_normal(more)], -1)
            return np.asarray(frozen.bound(field.domain, x))
        return np.concatenate([x, np.broadcast_to(x[..., -1:], more)], -1)

    return Tokens(**{name: wider(name, x) for name, x in tok.items()})
