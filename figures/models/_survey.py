"""What three figures of this folder share: all heads of a model, counted on three probes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dsf.figures import Table
from dsf.figures.models import _again
from dsf.figures.models._again import KEPT
from dsf.figures.models._kept import LONG, RETRIEVES, long
from dsf.figures.models._subject import RANDOM, REAL, subject
from dsf.models import Head, inspect
from dsf.models.head import measure
from dsf.models.probes import REPEAT, TEXT

HERE = Path(__file__).parent
KEYS = ("layer", "head", "probe", "tokens", "rtol")
TIME = 100.0  # seconds for a count that is done again: `inspect` breaks off after 10
AGAIN = f"head {'.'.join(map(str, RETRIEVES))} on the text and on repeated tokens"
RTOL = (0.1, 0.01)
SINK = PREVIOUS = 0.5  # share of the weight from which on a head is called by what it looks at
INDUCTION = 0.4
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {"weights": RANDOM, "tokens": 64, "lengths": [16, 32]},
    "default": {"weights": KEPT, "tokens": LONG},
    "paper": {"weights": REAL, "tokens": 512, "lengths": [64, 128, 256]},
}


@cache
def survey(profile: str) -> Table:
    """A row per head, probe, error and length; finished heads are kept below figures/build."""
    p = PROFILES[profile]
    model, ids = subject(p["weights"], p["tokens"])
    found = inspect(
        model, ids, rtol=RTOL, lengths=p["lengths"], keep=False,
        cache=HERE.parent / "build" / "heads", n_jobs=int(os.environ.get("DSF_WORKERS", "1")),
        progress=lambda done, of: print(f"heads {done}/{of}", flush=True),
    )  # fmt: skip
    modules = list(dict.fromkeys(row.module for row in found.rows))
    return Table([cell for row in found.rows for cell in _cells(row, modules.index(row.module))])


@cache
def counted_again() -> tuple[dict[str, Any], ...]:
    """The rows of a head that retrieves, on the text and on repeated tokens, from kept weights."""
    layer, head = RETRIEVES
    about = {"module": "", "call": 0, "head": head, "kind": "", "width": 0, "group": 0}
    found = []
    for probe in (TEXT, REPEAT):
        of = {**about, "probe": probe, "sequence": 0}
        found += _cells(measure(long(probe), None, RTOL, (), TIME, False, of)[0], layer)
    return tuple(found)


def retrieving(source: str, columns: Sequence[str]) -> Table:
    """The kept table of a figure, columns of that head beside."""
    wanted = (*KEYS, *columns)
    return _again.beside(source, KEYS, [{k: r[k] for k in wanted} for r in counted_again()])


def _cells(row: Head, layer: int) -> list[dict[str, Any]]:
    counts = {**row.prefixes, row.tokens: row.states}
    looks = {
        "entropy": row.entropy, "sink": row.sink, "previous": row.previous,
        "induction": row.induction, "spread": row.spread, "closest": row.closest,
    }  # fmt: skip
    return [
        {
            "layer": layer, "head": row.head, "probe": row.probe, "tokens": L, "rtol": e,
            "necessary": low, "sufficient": high, "window": row.window[e],
            "tolerance": row.tolerance[e], **looks,
        }
        for L, at in counts.items() for e, (low, high) in at.items()
    ]  # fmt: skip


def whole(table: Table, **where: Any) -> Table:
    """The rows at full length."""
    return table.where(tokens=max(table.values("tokens")), **where)


def grid(table: Table, name: str, **where: Any) -> np.ndarray:
    """A column at full length [heads layers]."""
    rows = whole(table, **where)
    found = np.full((max(rows.column("head")) + 1, max(rows.column("layer")) + 1), np.nan)
    for r in rows:
        found[r["head"], r["layer"]] = r[name]
    return found
