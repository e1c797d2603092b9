"""One row of the atlas: the properties of a family, and its sizes at given dimensions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import probe
from dsf.core.catalogue import families
from dsf.core.errors import NotContractive, NotLinearError
from dsf.core.facts import count
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.verdicts.properties import Properties, properties

RANK = 1e-12  # singular values below this times the largest count as zero


@dataclass(frozen=True)
class Row:
    """One mechanism; the fields are explained in `dsf.atlas.COLUMNS`."""

    mechanism: str
    structure: str
    varies: str | None
    reads: str | None
    field: str
    order_aware: bool
    lookback: int | str
    substeps: int
    eigenvalues: str | None
    eigenvalue_low: float | None
    eigenvalue_high: float | None
    contraction: bool | None
    commuting: bool | None
    parity: bool | None
    normalised: bool | None
    state_formula: str
    state: int
    memory: int
    flops_formula: str
    flops: int
    rank: int | None
    source: str


@dataclass(frozen=True)
class Sizes:
    """What an instance keeps and costs on one input, counted; `flops` by the declared formula."""

    state: int
    memory: int
    flops: int
    rank: int | None


def measure(family: Family, *, d: int, n: int, p: int, heads: int, L: int, seed: int) -> Row:
    """The row of a family: its properties, and its sizes on a random input [L d]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)  # it is a column of the table
        sizes = measured_sizes(family.init(d, n, p, heads, seed), L, seed)
    found, facts = properties(family), family.facts
    of_transitions: dict[str, Any] = {
        "varies": found.varies,
        "eigenvalues": eigenvalue_range(found),
        "eigenvalue_low": found.low,
        "eigenvalue_high": found.high,
        "contraction": found.contraction,
        "commuting": found.commuting,
        "parity": found.parity,
        "normalised": found.normalised,
    }
    return Row(
        mechanism=full_name(family),
        structure=found.structure,
        reads=found.read,
        field="complex" if found.complex else "real",
        order_aware=found.order_aware,
        lookback="all" if found.lookback is None else found.lookback,
        substeps=found.substeps,
        state_formula=facts.state,
        flops_formula=facts.flops,
        source=facts.source,
        **(of_transitions if found.linear else dict.fromkeys(of_transitions)),
        **vars(sizes),
    )


def measured_sizes(mech: Mechanism, L: int, seed: int = 0) -> Sizes:
    """The sizes of an instance on one Gaussian input [L d]."""
    u = np.random.default_rng(seed).standard_normal((L, mech.d))
    end = mech.run(u)[1]
    memory = probe.kept_numbers(mech, end)
    flops = count(mech.facts.flops, probe.sizes(mech, L))
    try:
        ltv, X = mech.system_on(u)
    except NotLinearError:
        return Sizes(probe.numbers(end.S), memory, flops, None)
    state = probe.numbers(end.S) or int(np.prod(ltv.batch)) * ltv.n * X.shape[-1]
    H = ltv.hankel(L // 2).real
    rank = int(np.linalg.matrix_rank(H, rtol=RANK).max(initial=0))
    return Sizes(state, memory, flops, rank)


def full_name(family: Family) -> str:
    """The name in the catalogue, and the options that differ from those of that name."""
    standard = families()[family.name].static
    changed = {k: v for k, v in family.static.items() if k not in standard or standard[k] != v}
    return family.name + (
        f"({', '.join(f'{k}={v}' for k, v in changed.items())})" if changed else ""
    )


def eigenvalue_range(found: Properties) -> str:
    """The range of the eigenvalues, or of their absolute values, to two decimals."""
    low, high = _cut(found.low), _cut(found.high)
    text = low if low == high else f"{low}..{high}"
    return text if found.real else f"|z| {text}"


def _cut(x: float) -> str:
    """Two decimals, rounded towards 0, so that 0.999 is not shown as the 1 it does not reach."""
    if x == 0 or (round(x) != 0 and abs(x - round(x)) <= probe.EXACT):
        return str(round(x))
    return f"{int(x * 100) / 100:.2f}"
