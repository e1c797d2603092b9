"""Which figures there are and which are up to date; imports none of them."""

from __future__ import annotations

import difflib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsf.core.errors import UnknownNameError
from dsf.figures.runner.provenance import fingerprint
from dsf.tools.files import read_record, sha256
from dsf.tools.literals import literals

NO_PAPERS = ("build", "runner")  # folders beside those of papers


@dataclass(frozen=True)
class Figure:
    """One figure: its name `<paper>/<name>`, its module, its source file."""

    name: str
    module: str
    source: Path

    def literals(self) -> dict[str, Any]:
        """TITLE, PAPER, DIFFERS, SEE, ORDER and THEOREMS, read without running the source."""
        defaults = {"PAPER": "", "DIFFERS": "", "SEE": "", "ORDER": 0, "THEOREMS": ()}
        defaults |= {"TITLE": self.name}
        found = literals(self.source, tuple(defaults))
        return defaults | {name: value for name, value in found.items() if value is not None}

    def file(self, folder: Path, suffix: str) -> Path:
        """The file with this suffix among the results of the figure."""
        return folder / f"{self.name}{suffix}"

    def state(self, folder: Path, profile: str) -> str:
        """One of current, missing, damaged (a file was altered), old (other sources made it)."""
        if not self.file(folder, ".json").exists():
            return "missing"
        record = self.record(folder)
        if record is None:
            return "damaged"
        return "current" if record["fingerprint"] == fingerprint(self.source, profile) else "old"

    def record(self, folder: Path) -> dict[str, Any] | None:
        """The record of the figure if it and all files it vouches for are intact."""
        record = read_record(self.file(folder, ".json"))
        for suffix, checksum in (record or {}).get("files", {}).items():
            try:
                if sha256(self.file(folder, suffix).read_bytes()) != checksum:
                    return None
            except OSError:
                return None
        return record


def catalogue(package: str) -> list[Figure]:
    """All figures of a package, in the order of the gallery: by paper, then by ORDER."""
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else spec.submodule_search_locations or []
    found = [
        Figure(f"{f.parent.name}/{f.stem}", f"{package}.{f.parent.name}.{f.stem}", f)
        for place in places
        for f in Path(place).glob("[!_.]*/[!_]*.py")
        if f.parent.name not in NO_PAPERS
    ]
    return sorted(found, key=lambda f: (f.name.partition("/")[0], f.literals()["ORDER"], f.name))


def select(figures: list[Figure], names: list[str]) -> list[Figure]:
    """The figures of these names (`<paper>/<name>`, `<name>` or `<paper>`); all for no names.

    Raises UnknownNameError with near matches.
    """
    chosen: list[Figure] = []
    for name in names:
        hits = [f for f in figures if name in (f.name, *f.name.split("/"))]
        if not hits:
            known = sorted(f.name for f in figures)
            short = [n.partition("/")[2] for n in known]
            near = difflib.get_close_matches(name, short, n=3) or known
            raise UnknownNameError(f"no figure {name!r}; there is {', '.join(near) or 'none'}")
        chosen += [f for f in hits if f not in chosen]
    return chosen if names else figures
