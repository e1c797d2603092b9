"""Where a figure comes from: its sources, the versions, the machine."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dsf.core import errors

LIBRARIES = (
    "numpy",
    "scipy",
    "sympy",
    "numba",
    "torch",
    "cvxpy",
    "python-flint",
    "matplotlib",
)
SHARED = ("_*.py", "*.npz", "*.txt")  # what the figures of a folder have in common


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries that can change a number or a picture."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def fingerprint(source: Path, profile: str) -> str:
    """A hash of all that determines a figure: sources, profile, versions.

    Of the package every source file counts, not only those that the figure imports: names are
    looked up at run time, so a list of imports would miss some; data beside the figure count too.
    Other figures do not count, and theorems only if the figure mentions them.
    """
    text = source.read_bytes()
    rooms = ["solvers", "kernels"] + ["theory_tests"] * (b"theory_tests" in text)
    digest = hashlib.sha256(repr((profile, versions())).encode())
    digest.update(_hash_of(tuple(rooms)))
    files = {source, *(f for shared in SHARED for f in source.parent.glob(shared))}
    if profile != "paper":  # the kept run of that profile is drawn beside the others
        files |= set(source.parent.glob(f"results/{source.stem}.*"))
    digest.update(_hash_files(sorted(files)))
    return digest.hexdigest()


@cache
def _hash_of(rooms: tuple[str, ...]) -> bytes:
    here = Path(__file__).parent  # the runner
    core = Path(errors.__file__).parents[1]
    # In a checkout the rooms lie beside dsf/, in an installed wheel inside it.
    inside = {core / room for room in ("solvers", "kernels", "theory_tests", "figures")}
    files = [f for f in core.rglob("*.py") if not inside & set(f.parents)]
    for room in rooms:
        files += (here.parents[1] / room).rglob("*.py")
    files += here.glob("*.py")
    files += core.rglob("*.mplstyle")
    return _hash_files(sorted(files))


def _hash_files(files: Iterable[Path]) -> bytes:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()


def provenance(source: Path) -> dict[str, Any]:
    """Revision of the sources, versions and machine, for the record of a figure."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "git": _git(source.parent),
        "versions": versions(),
        "platform": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "cpu": _cpu(),
        "threads": 1,
    }


def _git(folder: Path) -> dict[str, Any]:
    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return run.stdout.strip() if run.returncode == 0 else None

    # results that were kept a moment ago are no change of the sources
    status = git("status", "--porcelain", "--", ":/", ":(top,exclude)figures/*/results")
    return {
        "revision": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
