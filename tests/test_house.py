"""The house: floors of imports, what an import loads, no file twice, every room in the package."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import dsf

ROOT = Path(__file__).parent.parent
ROOMS = ("solvers", "kernels", "theory_tests", "figures")
HEAVY = {"torch", "cvxpy", "matplotlib", "numba", "sympy", "scipy", "flint", "pandas", "rich"}
# These may be imported inside functions, and so may modules of ours that import one of them.
OPTIONAL = {*HEAVY, "control", "mpmath", "threadpoolctl"}
OPTIONAL |= {"cloudpickle", "distributed", "joblib", "ray"}
OPTIONAL |= {"accelerate", "gguf", "h5py", "safetensors", "transformers"}


def measures() -> ModuleType:
    """benchmarks/house.py, which reads the imports of a checkout; no part of the package."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


house = measures()


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


def loaded(code: str) -> set[str]:
    """The packages outside the standard library that a fresh process has loaded after `code`."""
    code = f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    return {
        name.partition(".")[0] for name in run.stdout.decode().split()
    } - sys.stdlib_module_names


# How long an import takes is printed by benchmarks/house.py; here, that nothing slow is loaded.
@pytest.mark.smoke
def test_import_is_light():
    assert loaded("import dsf") <= {"dsf", "numpy"}


@pytest.mark.smoke
def test_the_mechanisms_need_numpy_only():
    code = "import dsf, numpy; dsf.gla.init(d=4)(numpy.ones((3, 4)))"
    assert not loaded(code) & HEAVY


def test_a_comparison_without_symbolic_proof_loads_no_sympy():
    assert "sympy" not in loaded("import dsf; dsf.compare('softmax', 'gla')")


def test_no_module_bears_the_name_of_a_public_function():
    # `import dsf.x` would put the module in the place of the function.
    taken = {name.split(".")[1] for name in modules() if name.count(".") == 1}
    for name in taken & set(dsf.__all__):
        assert getattr(dsf, name) is sys.modules.get(f"dsf.{name}"), name


# The floors, from the ground up: a room imports only from the floors below it.
FLOORS = (
    ("core",),
    ("kernels",),
    ("mechanisms", "interop", "jacobians", "tools"),
    ("relations", "testing"),
    ("claims",),
    ("states", "spectra"),
    ("verdicts", "solvers"),
    ("models",),
    ("dsf",),  # the front door, dsf/__init__.py
    ("theory_tests", "figures"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# The command line stands beside the rooms and looks into these when it is asked to.
ON_DEMAND = {("dsf.tools.cli", room) for room in ("dsf", "models", "theory_tests", "figures")}
ON_DEMAND |= {("dsf.tools.doctor", "dsf")}


@cache
def imports() -> list[Any]:
    """Every import of this checkout."""
    return list(house.imports(ROOT))


def breaks_a_rule(i: Any, heavy: set[str]) -> bool:
    """Whether an import runs upward or sideways, or stands inside a function without a reason."""
    a, b = house.room(i.source) or "dsf", house.room(i.target) or "dsf"
    if (i.source, b) in ON_DEMAND or i.source == "dsf":  # the front door opens rooms on demand
        return False
    ours = i.target.partition(".")[0] == "dsf"
    return (ours and a != b and FLOOR[b] >= FLOOR[a]) or (i.inside and i.target not in heavy)


def test_every_room_has_a_floor():
    assert set(FLOOR) == {house.room(name) or "dsf" for name in house.modules(ROOT)}


def test_imports_run_downward_and_stand_at_the_top_of_their_file():
    at_the_top = [(i.source, i.target) for i in imports() if not i.inside]
    graph = house.graph(at_the_top, {*house.modules(ROOT), *OPTIONAL})
    heavy = OPTIONAL | {name for name in graph if house.reached(graph, name) & OPTIONAL}
    found = {f"{i.source} -> {i.target}" for i in imports() if breaks_a_rule(i, heavy)}
    assert not found, "break a rule:\n" + "\n".join(sorted(found))


def test_no_circle_of_imports():
    every = [(i.source, i.target) for i in imports()]
    assert house.circles(house.graph(every, set(house.modules(ROOT)))) == []


def test_the_reader_of_imports_sees_every_kind(tmp_path):
    package = tmp_path / "dsf"
    package.mkdir()
    for name in ("__init__", "a", "b", "c", "d", "e", "f"):
        (package / f"{name}.py").write_text("")
    (package / "a.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from importlib import import_module\n"
        "from dsf import b\n"
        "if TYPE_CHECKING:\n    import dsf.f\n"
        "def f():\n    import dsf.c, scipy.linalg\n    return import_module('dsf.d')\n"
        "def g(name):\n    return import_module(f'dsf.e.{name}')\n"
    )
    read = {(i.target, i.inside) for i in house.imports(tmp_path)}
    inside = {(name, True) for name in ("dsf.c", "dsf.d", "dsf.e", "scipy")}
    assert read == {("typing", False), ("importlib", False), ("dsf.b", False), *inside}
    graph = house.graph([("x", "y"), ("y", "z"), ("z", "y"), ("w", "x")], set("wxyz"))
    assert house.circles(graph) == [["y", "z"]] and house.floors(graph) == 3


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
    if name.rpartition(".")[2].startswith("triton"):
        pytest.importorskip("triton", reason="an extra: make test-triton")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0


def test_the_example_of_the_readme():
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted > 5 and result.failed == 0


def test_the_shell_example_of_the_readme_prints_that():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition("    $ dsf compare linear_attn retnet\n")[2].partition("\n\n")[0]
    lines = [line.removeprefix("    ") for line in shown.splitlines() if line.strip() != "..."]
    printed = repr(dsf.compare("linear_attn", "retnet")).splitlines()
    assert lines and printed[: len(lines)] == lines
