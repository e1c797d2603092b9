"""The command line: `dsf compare`, `atlas`, `theorem`, `figure`, `doctor`.

Exit codes: 0 done; 1 the claim does not hold, or a figure failed; 2 usage or an unknown name;
3 something that is needed is not installed; 4 a defect of the package itself.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import dsf
from dsf.core.errors import CertificateError, DSFError, MissingExtraError, UnknownNameError
from dsf.tools.doctor import report
from dsf.tools.terminal import show

OK, FAILS, USAGE, MISSING, DEFECT, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one sentence on stderr."""
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as e:
        if isinstance(e, ModuleNotFoundError) and not str(e.name).startswith("dsf"):
            return _complain(f"{e.name} is not installed; `dsf doctor` says what is", MISSING)
        traceback.print_exc()
        return _complain("this is a defect of dsf; the lines above say where", DEFECT)


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
    compare.add_argument("--length", type=_size, help="compare on a random input of this length")
    compare.add_argument("--dim", type=_size, default=16, help="width of that input (16)")
    compare.add_argument("--seed", type=_seed, default=0, help="seed of that input (0)")
    compare.add_argument("--rtol", type=float, help="relative error on that input (0.01)")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(run=_compare)

    atlas = commands.add_parser("atlas", help="every mechanism with its computed properties")
    atlas.set_defaults(run=lambda _: print(dsf.atlas()) or OK)

    theorem = commands.add_parser("theorem", help="list the theorems, or run one")
    theorem.add_argument("name", nargs="?", help="name of a theorem; without it they are listed")
    theorem.add_argument("values", nargs="*", metavar="parameter=value", type=_assignment)
    theorem.set_defaults(run=_theorem)

    figure = commands.add_parser("figure", help="list the figures, or build some")
    figure.add_argument("names", nargs="*", metavar="NAME", help="<paper>/<name>, <name>, <paper>")
    figure.add_argument("--profile", choices=("smoke", "default", "paper"), default="default")
    figure.add_argument("--out", type=Path, default=Path("figures/build"), help="where to")
    figure.set_defaults(run=_figure)

    doctor = commands.add_parser("doctor", help="what is installed, missing, and what that costs")
    doctor.set_defaults(run=_doctor)
    return parser


def _size(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _seed(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {value}")
    return value


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected parameter=value, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word is a string


def _compare(arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = {}
    if arguments.length is not None:
        rng = np.random.default_rng(arguments.seed)
        options["u"] = rng.standard_normal((arguments.length, arguments.dim))
    if arguments.rtol is not None:
        options["rtol"] = arguments.rtol
    result = dsf.compare(arguments.a, arguments.b, **options)
    print(result.to_json() if arguments.json else result)
    return OK


def _theorem(arguments: argparse.Namespace) -> int:
    from dsf.theory_tests import judge, theorems

    every = {t.name: t for t in theorems()}
    if arguments.name is None:
        _table(("theorem", "statement"), [(t.name, t.statement) for t in every.values()])
        return OK
    theorem = every[_known("theorem", arguments.name, list(every))]
    values, parameters = dict(arguments.values), theorem.parameters()
    for name in values:
        _known(f"parameter of {theorem.name}", name, list(parameters))
    shown = ", ".join(f"{k}={v!r}" for k, v in {**parameters, **values}.items())
    for title, text in (
        ("theorem", theorem.name),
        ("statement", theorem.statement),
        ("reference", theorem.reference),
        ("falsified by", theorem.falsified_by),
        ("parameters", shown or "none"),
    ):
        print(f"{title:<14}{text}")
    judgement = judge(theorem.claim()(**values))
    print("\n".join(f"  {line}" for line in judgement.lines))
    print("HOLDS" if judgement.holds else "DOES NOT HOLD")
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


def _doctor(arguments: argparse.Namespace) -> int:
    return report()


def _known(kind: str, name: str, names: list[str]) -> str:
    """The name itself if it is one of `names`; UnknownNameError with near matches otherwise."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or names
        raise UnknownNameError(f"no {kind} {name!r}; there is {', '.join(near) or 'none'}")
    return name


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    show(table)


if __name__ == "__main__":
    sys.exit(main())
