"""Results of the long profile, computed once and kept with the sources.

`python -m dsf.figures NAME --profile paper --keep` writes figures/<paper>/results/<name>.csv and
.json.  Every later build of the figure reads the numbers from there, draws them and judges them
again, beside its own.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from dsf.figures.runner.catalogue import Figure
from dsf.figures.runner.findings import Finding, overall
from dsf.figures.runner.table import Table
from dsf.tools.files import read_record, sha256, write, write_record

PROFILE = "paper"


def place(figure: Figure, suffix: str) -> Path:
    """The kept file with this suffix."""
    return figure.source.parent / "results" / f"{figure.source.stem}{suffix}"


def keep(figure: Figure, folder: Path) -> None:
    """Copy table and record of a finished run; ValueError if there is none of this profile."""
    record = figure.record(folder)
    if record is None or record["profile"] != PROFILE:
        raise ValueError(f"{figure.name}: no intact run of profile {PROFILE!r} in {folder}")
    csv = figure.file(folder, ".csv").read_bytes()
    write(place(figure, ".csv"), csv)
    left_out = ("files", "inches", "kept", "title", "see", "paper", "differs")
    content = {key: value for key, value in record.items() if key not in left_out}
    write_record(place(figure, ".json"), {**content, "csv": sha256(csv)})


def kept(figure: Figure) -> tuple[Table, dict[str, Any]] | None:
    """The kept table and its record; None if nothing is kept, ValueError if it was altered."""
    path = place(figure, ".json")
    if not path.exists():
        return None
    record = read_record(path)
    csv = place(figure, ".csv").read_bytes()
    if record is None or record["csv"] != sha256(csv):
        raise ValueError(
            f"{path}: the record or its table was altered; compute it again with "
            f"`python -m dsf.figures {figure.name} --profile {PROFILE} --keep`"
        )
    return Table.from_csv(csv.decode()), record


def judged(module: ModuleType, table: Table) -> list[dict[str, str]]:
    """The findings of a figure on a table; ValueError if it gives something else."""
    found = module.findings(table)
    if not found or not all(isinstance(f, Finding) for f in found):
        raise ValueError(
            f"{module.__name__}.findings must return a list of dsf.figures.Finding, made by "
            f"number, statement or unknown; got {found!r}"
        )
    return [asdict(f) for f in found]


def findings(figure: Figure) -> list[dict[str, str]] | None:
    """The findings of today's code on the kept table of a figure; None if nothing is kept."""
    found = kept(figure)
    return None if found is None else judged(importlib.import_module(figure.module), found[0])


def kept_record(found: tuple[Table, dict[str, Any]], module: ModuleType) -> dict[str, Any]:
    """What other profiles say of a kept run; its findings are those of today's code."""
    table, record = found
    findings = judged(module, table)
    return {
        "findings": findings,
        "verdict": overall(f["verdict"] for f in findings),
        "parameters": record["parameters"],
        "run": record["run"],
    }
