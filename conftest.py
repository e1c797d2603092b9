"""Settings of every test run: one thread, Hypothesis profiles, real names for the rooms."""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports numpy: the number of threads changes the last bits of a matrix product.
# numba's pool would also give torch its size, through the OpenMP that they share: where the cores
# are busy, each small operation of torch then waits for a second thread.
for _variable in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR", "NUMBA"):
    os.environ.setdefault(f"{_variable}_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Collecting makes objects that stay, a million of them: looking through them for garbage again and
# again took a third of the time.
gc.disable()

ROOT = Path(__file__).parent
ROOMS = ("solvers", "kernels", "theory_tests", "figures")
TOGETHER = {  # tests that use the same compiled kernels, or the same tables
    "kernels": (
        "tests/kernels/",
        "tests/core/test_stretch.py",
        "tests/interop/",
        "tests/test_house",
    ),
    "figures": ("tests/figures/",),
}

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, **_common)
settings.register_profile("ci", max_examples=100, derandomize=True, print_blob=True, **_common)
settings.register_profile("nightly", max_examples=1000, print_blob=True, **_common)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


class RoomModule(pytest.Module):
    """A test file inside a room, imported under its real name: theory_tests/x.py is
    dsf.theory_tests.x.  Under the name of its path every class in it would exist twice."""

    def _getobj(self):
        parts = ["dsf", *self.path.relative_to(ROOT).with_suffix("").parts]
        return importlib.import_module(".".join(parts).removesuffix(".__init__"))


def _in_room(path: Path) -> bool:
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[:1] in {(r,) for r in ROOMS}


def pytest_pycollect_makemodule(module_path: Path, parent):
    return RoomModule.from_parent(parent, path=module_path) if _in_room(module_path) else None


def pytest_collect_directory(path: Path, parent):
    # As a package, pytest would import its __init__.py under the name of its path.
    return pytest.Dir.from_parent(parent, path=path) if _in_room(path) else None


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """A file runs in one process, so that what it keeps is made once; so do those of `TOGETHER`,
    because two processes that start with the same kernel both compile it."""
    from xdist.scheduler import LoadScopeScheduling

    if config.getoption("dist") != "load":  # asked for by name
        return None

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            names = (name for name, paths in TOGETHER.items() if path.startswith(paths))
            return next(names, path)

    return ByFile(config, log)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
