"""One figure, in a process of its own: compute, check, draw, write the record last."""

from __future__ import annotations

import importlib
import io
import shutil
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from dsf.core.errors import OutputError
from dsf.figures import Table, overall
from dsf.figures.runner.catalogue import catalogue, select
from dsf.figures.runner.gallery import SMALL
from dsf.figures.runner.kept import PROFILE, judged, kept, kept_record
from dsf.figures.runner.provenance import fingerprint, provenance
from dsf.figures.runner.sweep import keep_points
from dsf.tools.files import FULL, UNWRITABLE, sha256, write, write_record
from dsf.tools.style import style

THUMBNAIL = 480  # pixels, the width
REQUIRED = (
    "TITLE", "SEE", "PAPER", "DIFFERS", "ORDER", "PARAMETERS", "compute", "draw", "findings",
)  # fmt: skip


def build(package: str, name: str, profile: str, folder: Path) -> None:
    """Compute one figure and write its files into `folder`/<paper>/."""
    figure = select(catalogue(package), [name])[0]
    # Before the import: an edit from here on gives another fingerprint, so it cannot go unseen.
    sources = fingerprint(figure.source, profile)
    start = time.perf_counter()
    module = importlib.import_module(figure.module)
    _require(module, profile)

    points = figure.file(folder, ".points")
    csv = _computed(module, profile, points, sources)
    table = Table.from_csv(csv)
    found = judged(module, table)
    inches, drawn = pictures(module, table)
    files = {".csv": csv.encode(), **drawn}
    long = kept(figure) if profile != PROFILE else None
    if long is not None:
        _, drawn = pictures(module, long[0])
        files |= {f".{PROFILE}{suffix}": data for suffix, data in drawn.items()}
    for suffix, data in files.items():
        write(figure.file(folder, suffix), data)
    record: dict[str, Any] = {
        "figure": name,
        "title": module.TITLE,
        "paper": module.PAPER,
        "differs": module.DIFFERS,
        "see": module.SEE,
        "findings": found,
        "verdict": overall(f["verdict"] for f in found),
        "profile": profile,
        "seed": getattr(module, "SEED", None),
        "parameters": module.PARAMETERS[profile],
        "inches": inches,
        "files": {suffix: sha256(data) for suffix, data in files.items()},
        "fingerprint": sources if fingerprint(figure.source, profile) == sources else "edited",
        "kept": None if long is None else kept_record(long, module),
        "run": {"seconds": round(time.perf_counter() - start, 2), **provenance(figure.source)},
    }
    write_record(figure.file(folder, ".json"), record)
    shutil.rmtree(points, ignore_errors=True)


def _computed(module: ModuleType, profile: str, points: Path, sources: str) -> str:
    """The numbers as CSV; finished points of these sources are taken, those of others removed."""
    for other in points.glob("*"):
        if other.name != sources:
            shutil.rmtree(other, ignore_errors=True)
    with keep_points(points / sources):
        return Table(module.compute(profile)).to_csv()


def pictures(module: ModuleType, table: Table) -> tuple[list[float], dict[str, bytes]]:
    """Size, PNG, SVG and thumbnail of the figure drawn from its table; same table, same bytes."""
    with style():
        figure = module.draw(table)
        png, svg, small = io.BytesIO(), io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png")
        figure.savefig(svg, format="svg", metadata={"Date": None})
        inches = [float(x) for x in figure.get_size_inches()]
        figure.savefig(small, format="png", dpi=THUMBNAIL / inches[0])
    return inches, {".png": png.getvalue(), ".svg": svg.getvalue(), SMALL: small.getvalue()}


def _require(module: ModuleType, profile: str) -> None:
    missing = [name for name in REQUIRED if not hasattr(module, name)]
    if missing:
        raise TypeError(
            f"{module.__name__} is not a figure: it lacks {', '.join(missing)} "
            "(the protocol is in the docstring of dsf.figures)"
        )
    if profile not in module.PARAMETERS:
        raise ValueError(
            f"{module.__name__} has no profile {profile!r}; it has {', '.join(module.PARAMETERS)}"
        )


if __name__ == "__main__":
    _, _package, _name, _profile, _folder = sys.argv
    try:
        build(_package, _name, _profile, Path(_folder))
    except OSError as e:
        if not isinstance(e, OutputError) and e.errno not in FULL:
            raise
        with suppress(OSError):  # the log may lie on the same full disk
            traceback.print_exc()
        sys.exit(UNWRITABLE)
