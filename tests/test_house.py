"""The house: what an import costs, that no file exists twice, that packaging names every room."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import dsf

ROOT = Path(__file__).parent.parent
ROOMS = ("solvers", "kernels", "theory_tests", "figures")
HEAVY = {"torch", "cvxpy", "matplotlib", "numba", "sympy", "scipy", "flint", "pandas", "rich"}


def modules() -> list[str]:
    """Every module of the package; `__main__` files would run when imported."""
    found = pkgutil.walk_packages(dsf.__path__, "dsf.")
    rooms = [
        m.name
        for room in ROOMS
        for m in pkgutil.walk_packages([str(ROOT / room)], f"dsf.{room}.")
        if not m.name.startswith("dsf.figures.build")
    ]
    names = ["dsf", *(m.name for m in found), *(f"dsf.{r}" for r in ROOMS), *rooms]
    return sorted({n for n in names if not n.endswith("__main__")})


@pytest.mark.smoke
def test_import_is_light():
    code = "import dsf, sys, json; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    assert HEAVY & set(json.loads(run.stdout)) == set()


def test_import_is_fast():
    # The goal is 0.4 s; the best of five forgives a busy machine, not a slow import.
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", "import dsf"], check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.8


def test_no_module_bears_the_name_of_a_public_function():
    """Importing such a module would put it in the place of the function."""
    places = {m.name for m in pkgutil.iter_modules(dsf.__path__)} | set(ROOMS)
    shadowed = [name for name in dsf.__all__ if name in places and callable(getattr(dsf, name))]
    assert shadowed == []


@pytest.mark.smoke
@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_this_checkout(room):
    module = importlib.import_module(f"dsf.{room}")
    assert Path(str(module.__file__)).parent == ROOT / room


def test_no_file_is_loaded_twice(request):
    for item in request.session.items:
        if item.path.is_relative_to(ROOT / "theory_tests"):
            assert item.module.__name__.startswith("dsf.theory_tests.")
    names: dict[Path, set[str]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(ROOT) and ".venv" not in Path(file).parts:
            names.setdefault(Path(file), set()).add(name)
    assert {str(f): n for f, n in names.items() if len(n) > 1} == {}


def test_theory_files_are_collected_under_their_real_names():
    # In a process of its own, so that it holds whichever tests were selected here.
    code = (
        "import sys, pytest\n"
        "code = pytest.main(['--collect-only', '-q', 'theory_tests', '-p', 'no:cacheprovider'])\n"
        "assert code in (0, 5), code\n"
        "bad = [m for m in sys.modules if m.partition('.')[0] in ('theory_tests', 'figures')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_packaging_names_every_package():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        init.parent.relative_to(ROOT)
        for top in ("dsf", *ROOMS)
        for init in (ROOT / top).rglob("__init__.py")
        if "build" not in init.parts
    }
    names = {".".join(f.parts if f.parts[0] == "dsf" else ("dsf", *f.parts)): f for f in folders}
    assert set(config["packages"]) == set(names)
    for name, place in config["package-dir"].items():
        assert names[name] == Path(place)


@pytest.mark.parametrize("name", modules())
def test_doctests(name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0


def test_the_example_of_the_readme():
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted > 5 and result.failed == 0
