"""The measures of the house: lines, imports, long functions, names, and what an import costs.

Reads the files of any checkout, also one from before the rooms existed.  What has to run (`import
dsf`, `dsf.compare`) runs in fresh processes on that checkout, with this Python and one thread.

Run `python benchmarks/house.py` (seconds); `--tree PATH` for another checkout, `--compare`
for the time of six comparisons (half a minute).  `tests/test_house.py` reads the imports from here.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BESIDE = ("solvers", "kernels", "theory_tests", "figures")  # rooms beside the folder dsf/
PAIRS = [
    ("linear_attn", "mamba"),
    ("retnet", "gla"),
    ("softmax", "gla"),
    ("gla", "deltanet"),
    ("mamba2", "normalised_attn"),
    ("lru", "s4d"),
]
SHOWN = ("gla", "deltanet", "retnet", "mamba", "softmax")  # mechanism files printed by name
LONG_MODULE, LONG_FUNCTION = 400, 40
# A domain given as text, compared with text or taken apart.
PARSES_DOMAIN = re.compile(
    r"""domain\ (==|!=|in|not\ in)\ [(\[{]?["']   # field.domain == "< 0", in ("< 0", "> 0")
    |   domain\[ | domain\.(starts|ends)with | domain\.(split|partition|remove)
    |   (starts|ends)with\(domain\) | \b(startswith|endswith)\(["']in""",
    re.VERBOSE,
)


# --- the modules and what they import -------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """An import statement, or a string that names a module, in the module `source`."""

    source: str
    target: str  # a module of the package, or the name of another package, e.g. "scipy"
    line: int
    inside: bool  # whether it stands inside a function


def modules(tree: Path) -> dict[str, Path]:
    """All modules of the package by name, e.g. "dsf.solvers.svm.chain" (solvers/svm/chain.py)."""
    found = {}
    for top in ("dsf", *BESIDE):
        for path in sorted((tree / top).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            if parts[:2] != ("figures", "build") and parts[-1] != "__main__":
                name = ".".join(parts if top == "dsf" else ("dsf", *parts))
                found[name.removesuffix(".__init__")] = path
    return found


def imports(tree: Path) -> list[Import]:
    """All imports, also those inside functions and by a string.

    Left out: what stands under `if TYPE_CHECKING`.  In a file with `import_module`, each string
    that is the name of a module counts as an import of it, and the beginning "dsf.x." of a name
    as an import of dsf.x, unless the file belongs to dsf.x.
    """
    known = modules(tree)
    found = []
    for name, path in known.items():
        text = path.read_text()
        by_name = "import_module" in text or "__import__" in text
        for node, inside in statements(ast.parse(text), False):
            if by_name or not isinstance(node, ast.Constant):
                found += [Import(name, t, node.lineno, inside) for t in targets(node, name, known)]
    return [i for i in found if i.source != i.target]


def statements(node: ast.AST, inside: bool) -> Iterator[tuple[ast.stmt | ast.expr, bool]]:
    """Imports and strings below `node`, each with whether it stands inside a function."""
    inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from statements(other, inside)
        elif isinstance(child, (ast.Import, ast.ImportFrom, ast.Constant)):
            yield child, inside
        else:
            yield from statements(child, inside)


def targets(node: ast.AST, source: str, known: dict[str, Path]) -> list[str]:
    """The modules that an import statement, or a string, names."""
    if isinstance(node, ast.ImportFrom):
        longest = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name if name in known else str(node.module) for name in longest]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        text = str(node.value).partition(":")[0] if isinstance(node, ast.Constant) else ""
        if text.endswith("."):
            text = f"dsf.{room(text)}" if room(text) != room(source) else ""
        return [text] if text in known else []
    return sorted({name if name in known else name.partition(".")[0] for name in names})


def room(module: str) -> str:
    """The part of the package that a module belongs to: "core" for dsf.core.ops, "" for dsf."""
    return [*module.split("."), ""][1]


# --- floors and circles ---------------------------------------------------------------------------

Graph = dict[str, set[str]]


def graph(edges: list[tuple[str, str]], nodes: set[str]) -> Graph:
    """Who imports whom."""
    out: Graph = {node: set() for node in nodes}
    for a, b in edges:
        if a != b and a in nodes and b in nodes:
            out[a].add(b)
    return out


def reached(g: Graph, start: str) -> set[str]:
    """What `start` imports, directly or not."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = g[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def circles(g: Graph) -> list[list[str]]:
    """The groups whose members import each other, largest first."""
    reach = {node: reached(g, node) for node in g}
    groups = {tuple(sorted(m for m in reach[n] if n in reach[m])) for n in g if n in reach[n]}
    return sorted((list(group) for group in groups), key=len, reverse=True)


def floors(g: Graph) -> int:
    """How many floors there are: a circle is on one floor, an importer above what it imports."""
    reach = {node: reached(g, node) for node in g}
    floor: dict[str, int] = {}
    for node in sorted(g, key=lambda n: len(reach[n] | {n})):
        below = [m for m in reach[node] if node not in reach[m]]
        floor[node] = 1 + max((floor[m] for m in below), default=0)
    return max(floor.values(), default=0)


# --- lines ----------------------------------------------------------------------------------------


def sources(tree: Path) -> dict[str, list[Path]]:
    """The Python files of each folder: of dsf/ by room, then the other folders of the checkout."""
    found: dict[str, list[Path]] = defaultdict(list)
    for top in ("dsf", *BESIDE, "tests", "benchmarks"):
        for path in sorted((tree / top).rglob("*.py")):
            parts = path.relative_to(tree).parts
            if parts[:2] != ("figures", "build"):
                inner = top == "dsf" and len(parts) > 2
                found["/".join(parts[:2]) if inner else top].append(path)
    return found


def lines(path: Path) -> int:
    """All lines of a file."""
    return len(path.read_text().splitlines())


def long_functions(path: Path) -> list[tuple[int, str]]:
    """(lines of code, name) of the functions of a file over the limit."""
    text = path.read_text()
    code = lines_of_code(text)
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = set(range(node.lineno, int(node.end_lineno or 0) + 1)) & code
            found.append((len(own), node.name))
    return [(n, name) for n, name in found if n > LONG_FUNCTION]


def lines_of_code(text: str) -> set[int]:
    """The numbers of the lines with code: no blank lines, comments or docstrings."""
    code: set[int] = set()
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*nothing, tokenize.ENDMARKER):
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            code -= set(range(node.lineno, int(node.end_lineno or 0) + 1))
    return code


# --- what has to run ------------------------------------------------------------------------------


def run(tree: Path, code: str) -> tuple[str, float, float]:
    """(what it printed, wall seconds, CPU seconds) of `code` in a fresh process on this checkout.

    A folder of links comes first on the path, so that the checkout needs no installation.
    """
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "dsf")
        package.mkdir()
        for path in [*(tree / "dsf").iterdir(), *(tree / name for name in BESIDE)]:
            (package / path.name).symlink_to(path)
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        env = {**os.environ, **threads, "PYTHONPATH": folder}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], env=env, check=True, stdout=subprocess.PIPE
        )
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout.decode(), wall, cpu


IMPORT = """
import time
start = time.perf_counter()
import dsf
print(time.perf_counter() - start, len(dir(dsf)), sum(not n.startswith('_') for n in dir(dsf)))
"""


# --- the printout ---------------------------------------------------------------------------------


def print_lines(tree: Path) -> None:
    """Lines per room, of the mechanism files, and the long modules and functions."""
    folders = sources(tree)
    print(f"{'lines':>7}  {'files':>5}  folder")
    for name, paths in folders.items():
        print(f"{sum(map(lines, paths)):7}  {len(paths):5}  {name}")
    inner = [p for name, paths in folders.items() if name.startswith("dsf") for p in paths]
    print(f"{sum(map(lines, inner)):7}  {len(inner):5}  dsf and its folders together")
    every = [p for paths in folders.values() for p in paths]
    print(f"{sum(map(lines, every)):7}  {len(every):5}  all\n")

    files = [p for p in folders["dsf/mechanisms"] if not p.name.startswith("_")]
    files = [p for p in files if p.name != "features.py"]  # feature maps: no mechanism
    size = {p.stem: lines(p) for p in files}
    longest = max(size, key=lambda name: size[name])
    print(f"mechanism files          {len(size)}, {sum(size.values())} lines together,")
    print(f"                         {sum(size.values()) / len(size):.0f} in the mean, ", end="")
    print(f"longest {longest} with {size[longest]}")
    print(f"                         {', '.join(f'{k} {size[k]}' for k in SHOWN if k in size)}")

    long = sorted(((lines(p), str(p.relative_to(tree))) for p in every), reverse=True)
    listed("modules over 400 lines", [f"{name} {n}" for n, name in long if n > LONG_MODULE])
    worst = sorted(
        ((n, f"{p.relative_to(tree)}: {name}") for p in every for n, name in long_functions(p)),
        reverse=True,
    )
    listed("functions over 40 lines", [f"{name} {n}" for n, name in worst])


def print_imports(tree: Path) -> None:
    """Floors and circles, of the folders and of the modules."""
    known = modules(tree)
    every = [i for i in imports(tree) if i.target in known]
    every = [i for i in every if i.source != "dsf"]  # the front door stands above all
    units = {room(m) for m in known} - {""}
    inner = units - set(BESIDE)
    edges = [(room(i.source), room(i.target)) for i in every]
    within = circles(graph(edges, inner))
    print(f"units of dsf/            {len(inner)} folders and top-level modules")
    print(f"floors                   {floors(graph(edges, inner))}", end="")
    print(f", with the rooms beside {floors(graph(edges, units))}")
    listed("circles of units", [" / ".join(group) for group in within])
    by_module = graph([(i.source, i.target) for i in every], set(known))
    print(f"floors of modules        {floors(by_module)}")
    listed("circles of modules", [" / ".join(group) for group in circles(by_module)])
    inside = [i for i in every if i.inside]
    print(f"imports inside functions {len(inside)} of modules of the package")


def print_searches(tree: Path) -> None:
    """Lines of code in which a text occurs; this folder is left out, for it holds the patterns."""
    paths = [p for name, ps in sources(tree).items() if name != "benchmarks" for p in ps]
    texts = {p: p.read_text().splitlines() for p in paths}
    has = sum(line.count("_has(") for ls in texts.values() for line in ls)
    domain = {p: sum(bool(PARSES_DOMAIN.search(line)) for line in ls) for p, ls in texts.items()}
    print(f"occurrences of _has(     {has}")
    print(f"a domain string parsed   {sum(domain.values())} lines ", end="")
    print(f"in {sum(n > 0 for n in domain.values())} files")


def print_import_time(tree: Path) -> None:
    """Names in `dir(dsf)` and the time of `import dsf`."""
    printed = [run(tree, IMPORT) for _ in range(7)]
    _, names, public = printed[0][0].split()
    inner = min(float(text.split()[0]) for text, _, _ in printed)
    whole = min(wall for _, wall, _ in printed)
    print(f"names in dir(dsf)        {names}, {public} without an underscore")
    print(f"import dsf               {inner:.3f} s, the whole process {whole:.3f} s; best of 7")


def print_comparisons(tree: Path) -> None:
    """Seconds of `dsf.compare`, the atlas and the lattice; the better of two runs."""
    print(f"\n{'CPU s':>7}  {'wall s':>6}  in a fresh process, the better of two")
    timed = {f"{a}, {b}": f"import dsf; print(dsf.compare({a!r}, {b!r}))" for a, b in PAIRS}
    timed["dsf.atlas()"] = "import dsf; print(dsf.atlas())"
    timed["all proofs of the lattice"] = (
        "from dsf.relations import NESTINGS; print([e.proof().holds for e in NESTINGS])"
    )
    for what, code in timed.items():
        cpu, wall = min((c, w) for _, w, c in (run(tree, code) for _ in range(2)))
        print(f"{cpu:7.2f}  {wall:6.2f}  {what}", flush=True)


def listed(head: str, items: list[str]) -> None:
    """A number, and below it what was counted."""
    print(f"{head:<25}{len(items)}")
    for item in items:
        print(f"    {item}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The measures of the house.")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--compare", action="store_true", help="also time six comparisons")
    options = parser.parse_args()
    tree = options.tree.resolve()
    if not (tree / "dsf" / "__init__.py").is_file():
        parser.error(f"--tree: {tree} holds no dsf/__init__.py; give the folder of a checkout")
    print_lines(tree)
    print_imports(tree)
    print_searches(tree)
    print_import_time(tree)
    if options.compare:
        print_comparisons(tree)


if __name__ == "__main__":
    main()
