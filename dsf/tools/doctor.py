"""What is installed, what is missing, and what that costs."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dsf.tools.terminal import show

# distribution name -> import name, and what its absence costs
REQUIRED = {
    "numpy": ("numpy", "nothing works"),
    "scipy": ("scipy", "no matrix functions"),
    "sympy": ("sympy", "no proofs of nestings"),
    "python-flint": ("flint", "no rigorous enclosures, no exact rationals"),
    "torch": ("torch", "no training, no gradients, no GPU"),
    "numba": ("numba", "no fast kernels on the CPU"),
    "cvxpy": ("cvxpy", "no convex problems"),
    "matplotlib": ("matplotlib", "no figures"),
    "rich": ("rich", "no tables and no progress on the command line"),
    "joblib": ("joblib", "no sweeps over several processes"),
    "cloudpickle": ("cloudpickle", "no sweeps that keep their results"),
    "threadpoolctl": ("threadpoolctl", "no control of BLAS threads"),
}
OPTIONAL = {
    "pandas": ("pandas", "no to_pandas()"),
    "control": ("control", "no interop with python-control"),
    "triton": ("triton", "no GPU kernels; those of the CPU are used"),
    "distributed": ("distributed", "no sweeps over a dask cluster"),
    "ray": ("ray", "no sweeps over a ray cluster"),
    "transformers": ("transformers", "no language models from folders or the library"),
    "gguf": ("gguf", "no models from GGUF files"),
    "accelerate": ("accelerate", "no models from GGUF files"),
    "safetensors": ("safetensors", "no voice detector and no forecaster of the library"),
    "h5py": ("h5py", "no character model of the library"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remark` says what a shortcoming costs."""

    what: str
    found: str
    remark: str = ""
    ok: bool = True


def examine() -> list[Finding]:
    """Everything the doctor looks at.  A probe that fails is a finding, not an error."""
    findings: list[Finding] = []
    for probe in (_python, _libraries, _solvers, _gpu, _threads, _fonts, _folders):
        try:
            findings += probe()
        except Exception as e:  # a broken library is what the doctor is there to report
            what = probe.__name__.strip("_")
            findings.append(Finding(what, "broken", f"{type(e).__name__}: {e}", ok=False))
    return findings


def report() -> int:
    """Print the findings; 0 if everything required is there, 3 if something is missing."""
    findings = examine()
    _print(findings)
    bad = [f.what for f in findings if not f.ok]
    print(f"Needs attention: {', '.join(bad)}." if bad else "Everything required is there.")
    return 3 if bad else 0


def _print(findings: list[Finding]) -> None:
    try:
        from rich.table import Table
    except ImportError:
        for f in findings:
            print(f"{f.what:<16} {f.found}  {f.remark}")
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for f in findings:
        table.add_row(f.what, f.found, f.remark, style=None if f.ok else "bold red")
    show(table)


def _python() -> Iterator[Finding]:
    yield Finding(
        "python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    yield Finding("dsf", f"{_version('dsf-lab')} from {Path(__file__).parent}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _libraries() -> Iterator[Finding]:
    for table, required in ((REQUIRED, True), (OPTIONAL, False)):
        for name, (module, cost) in table.items():
            found, remark, ok = _version(name), "", True
            if not found:
                found, ok = "not installed", not required
                remark = f"without it: {cost}"
            else:
                try:
                    importlib.import_module(module)
                except Exception as e:
                    found, ok = f"{found}, but its import fails", not required
                    remark = f"{type(e).__name__}: {e}"
            yield Finding(name, found, remark, ok)


def _solvers() -> Iterator[Finding]:
    import cvxpy

    found = sorted(cvxpy.installed_solvers())
    missing = "CLARABEL" not in found
    remark = "without CLARABEL: no accurate semidefinite problems" if missing else ""
    yield Finding("conic solvers", ", ".join(found), remark, ok=not missing)


def _gpu() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        build = torch.version.cuda or "none, this torch is built for the CPU"
        yield Finding("GPU", "none", f"everything runs on the CPU (CUDA: {build})")
        return
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    remark = "" if _version("triton") else "without triton: torch operations only"
    yield Finding("GPU", f"{names}, CUDA {torch.version.cuda}", remark)


def _threads() -> Iterator[Finding]:
    import torch
    from threadpoolctl import threadpool_info

    from dsf.kernels import compiled

    yield Finding("cores", str(os.cpu_count()))
    yield Finding("threads", f"torch {torch.get_num_threads()}, numba {compiled.threads()}")
    for pool in threadpool_info():
        library = f"{pool['internal_api']} {pool['version'] or ''}".strip()
        yield Finding(pool["user_api"], f"{library}, {pool['num_threads']} threads")


def _fonts() -> Iterator[Finding]:
    from matplotlib.font_manager import findfont

    found = Path(findfont("DejaVu Sans", fallback_to_default=True)).name
    ok = found == "DejaVuSans.ttf"
    remark = "" if ok else "figures will differ in their bytes from those of other machines"
    yield Finding("font", f"DejaVu Sans: {found}", remark, ok)


def _folders() -> Iterator[Finding]:
    here = Path.cwd()
    build = here / "figures" / "build"
    place = next(p for p in (build, *build.parents) if p.exists())
    yield _writable("results", place, "figures cannot be written from this folder")
    yield _writable("temporary files", Path(tempfile.gettempdir()), "compilers and solvers fail")


def _writable(what: str, folder: Path, cost: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as e:
        return Finding(what, f"{folder} is not writable", f"{cost} ({e.strerror})", ok=False)
    return Finding(what, f"{folder} is writable")
