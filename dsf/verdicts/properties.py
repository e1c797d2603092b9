"""What a family's equations do, measured once: the atlas, the table of differences and the
separations read it.  The measuring itself is in `dsf.core.probe`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from dsf.core import probe
from dsf.core.errors import NotContractive
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism

SIZES = {"d": 8, "n": 4, "p": 4, "heads": 2}  # n = 4: two complex pairs are not a scalar
NOISE = 8  # length of the input on which attention, which has no free tokens, is measured


@dataclass(frozen=True)
class Properties:
    """Properties of a family's recurrence, measured at tokens drawn over their whole domains.

    structure    of the transition A_t: scalar, diagonal, low rank, dense, shift; nonlinear where
                 the step is not affine in the state (then those from `read` to `region` are empty)
    read         the output reads the state "before" or "after" the update
    complex      whether a coefficient is complex
    varies       letters of A, B, C, D that change from token to token
    low, high    ends of the range of the eigenvalues of A_t, of their absolute values unless `real`
    region       the smallest of `REGIONS` that holds them
    contraction  |A_t|_2 <= 1
    commuting    A_s A_t = A_t A_s
    order_aware  the output depends on the order of the earlier tokens
    normalised   constant values give that constant
    lookback     earlier tokens that the equations read besides the state (None: all)
    substeps     steps of the recurrence per token

    affine       a finite state, a step affine in it, and a readout linear in it at a fixed token;
                 the properties below are False without it
    tokenwise    coefficients depend on the current token only (no lookback, no position), and the
                 state is updated once per token
    diagonal, scalar   the kind of transition (scalar: one real number)
    positive     all transition entries are real and > 0
    forgets      all transition entries are below 1 in modulus
    constant     no coefficient depends on the tokens
    delta        A = s (I - b k k') with a scalar s, and B proportional to k
    lossless     s = 1
    contracts    s < 1
    """

    structure: str
    order_aware: bool
    normalised: bool
    lookback: int | None
    substeps: int
    read: str | None = None
    complex: bool = False
    varies: str = ""
    low: float = 0.0
    high: float = 0.0
    real: bool = True
    region: str = "any"
    contraction: bool = False
    commuting: bool = False
    affine: bool = False
    tokenwise: bool = False
    diagonal: bool = False
    scalar: bool = False
    positive: bool = False
    forgets: bool = False
    constant: bool = False
    delta: bool = False
    lossless: bool = False
    contracts: bool = False

    @property
    def linear(self) -> bool:
        """Whether the equations make a linear system of every input."""
        return self.structure != "nonlinear"

    @property
    def parity(self) -> bool:
        """Some A_t depends on the token and has an eigenvalue outside [0, inf).

        Necessary for tracking parity at every length in finite precision.
        """
        return "A" in self.varies and (not self.real or self.low < 0)


@cache
def properties(family: Family) -> Properties:
    """The properties of a family, measured on the instance `init(**SIZES)`.

    >>> import dsf
    >>> found = properties(dsf.deltanet)
    >>> found.structure, found.region, found.commuting, found.delta
    ('low rank', '(0, 1]', False, True)
    """
    return measured(family.init(**SIZES), 0)


def measured(mech: Mechanism, seed: int) -> Properties:
    """The properties of the equations of an instance, from the draws of this seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)  # it is a property
        common: dict[str, Any] = {
            "order_aware": probe.is_order_aware(mech, seed),
            "normalised": probe.is_normalised(mech, seed),
            "lookback": mech.lookback,
            "substeps": mech.substeps,
        }
        drawn = probe.drawn_systems(mech, seed)
        first = drawn[0].ltv if drawn else probe.system_on_noise(mech, NOISE, seed)
        if first is None:
            return Properties("nonlinear", **common)
        A = np.stack([probe.per_token(mech, ltv) for ltv in [d.ltv for d in drawn] or [first]])
        varies = probe.varying(first)
        return Properties(
            first.A.structure,
            read=first.read,
            complex=any(np.iscomplexobj(x) for x in first.arrays()),
            varies=varies,
            **_spectrum(A),
            contraction=probe.is_contraction(A),
            commuting=probe.commute(A),
            **_recurrence(mech, drawn, constant=not varies),
            **common,
        )


def _spectrum(A: np.ndarray) -> dict[str, Any]:
    z = np.linalg.eigvals(A).astype(complex).ravel()
    real = bool(probe.is_real(z).all())
    size = z.real if real else np.abs(z)
    ends = {"low": float(size.min()), "high": float(size.max())}
    return {**ends, "real": real, "region": probe.region(z)}


def _recurrence(mech: Mechanism, drawn: tuple[probe.Drawn, ...], constant: bool) -> dict[str, Any]:
    """What invariants rest on; nothing where the mechanism is attention."""
    if not drawn or not all(probe.reads_linearly(mech, d) for d in drawn):
        return {}
    A = drawn[0].ltv.A
    entries = [probe.diagonal_entries(d.ltv.A) for d in drawn]
    fronts = [probe.delta_front(d.ltv) for d in drawn]
    real = _all(entries, lambda a: not np.iscomplexobj(a))
    diagonal = _all(entries, lambda a: True)
    return {
        "affine": True,
        "tokenwise": mech.substeps == 1 and not mech.lookback and "pos" not in mech.token_fields,
        "diagonal": diagonal,
        "scalar": diagonal and A.structure == "scalar" and real,
        "positive": real and _all(entries, lambda a: bool(np.all(a > 0))),
        "forgets": _all(entries, lambda a: bool(np.all(np.abs(a) < 1))),
        "constant": constant,
        "delta": _all(fronts, lambda s: True),
        "lossless": _all(fronts, lambda s: bool(np.all(s == 1))),
        "contracts": _all(fronts, lambda s: bool(np.all(s < 1))),
    }


def _all(arrays: list[np.ndarray | None], holds: Callable[[np.ndarray], bool]) -> bool:
    return all(x is not None and holds(x) for x in arrays)
