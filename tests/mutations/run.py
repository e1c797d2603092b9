"""Do the tests notice a wrong line?  Each mutation of `mutations.jsonl` in a copy of its own.

    python tests/mutations/run.py [--only TEXT] [--update] [--jobs N]

One JSON object per line of the list: `file`, `old` (text that occurs exactly once in it), `new`,
`tests` (paths given to pytest: those that stand beside the code), `caught` (what was measured),
`before` (what was measured of the same mistake in commit f275be4, before the code was rewritten)
and perhaps `note`.  The working tree is never touched.  First the tests have to pass unchanged.

    caught           a test failed, or the time limit was reached
    SURVIVED         all tests passed
    NOT APPLICABLE   `old` is not there exactly once, or pytest could not run the tests

Finished ones are kept in `build/mutants.jsonl` and not run again while sources and tests are the
same.  Exit code 1 if one that is recorded as caught survives, or one is not applicable; 2 if the
tests fail unchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIST = HERE / "mutations.jsonl"
RESULTS = ROOT / "build" / "mutants.jsonl"
LIMIT = 240  # seconds for one mutation
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "mutations")

# Fails unless every room is imported from the copy and not from where it is installed.
IMPORTS = (
    "import importlib, pathlib, sys\n"
    "for name in ('dsf', 'dsf.core.ops', *(f'dsf.{room}' for room in sys.argv[2:])):\n"
    "    file = pathlib.Path(importlib.import_module(name).__file__).resolve()\n"
    "    assert file.is_relative_to(sys.argv[1]), f'{name} comes from {file}'\n"
)

Mutation = dict[str, Any]


def rooms() -> dict[str, str]:
    """The folders at the top that are rooms of the package, by their names in it."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    places = setup["tool"]["setuptools"].get("package-dir", {})
    return {name[4:]: place for name, place in places.items() if name.count(".") == 1}


def copy(folder: Path) -> None:
    """Copy the repository to folder/copy, with an environment in folder/env that imports from it.

    folder/links holds the package under its import names.  The libraries come from the present
    environment, without what it says about the installed package.  Nothing that was compiled is
    copied, so neither Python nor numba can serve old code.
    """
    shutil.copytree(ROOT, folder / "copy", ignore=LEFT_OUT)
    links = folder / "links" / "dsf"
    links.mkdir(parents=True)
    for path in (folder / "copy" / "dsf").iterdir():
        (links / path.name).symlink_to(path)
    for room, place in rooms().items():
        (links / room).symlink_to(folder / "copy" / place)
    venv.create(folder / "env", symlinks=True)
    paths = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    places = f"{links.parent}\n{sysconfig.get_path('purelib')}\n"
    Path(sysconfig.get_path("purelib", vars=paths), "copy.pth").write_text(places)


def run(command: list[str], folder: Path, limit: float) -> tuple[int, str]:
    """Exit code and output of Python in folder/copy; a code of -1 where it ran too long."""
    process = subprocess.Popen(
        [folder / "env" / "bin" / "python", "-P", *command], cwd=folder / "copy", text=True,
        env={**os.environ, "HYPOTHESIS_PROFILE": "ci"}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=limit)[0]
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return -1, ""
    finally:  # also the processes that the tests started
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def pytest(tests: list[str], folder: Path, limit: float) -> tuple[int, str]:
    """Exit code and output of the tests in folder/copy."""
    return run(["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests], folder, limit)


def unchanged(tests: list[str]) -> str:
    """What is wrong with the tests in a copy without a mutation, or the empty text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy(folder)
        code, output = run(["-c", IMPORTS, str(folder / "copy"), *rooms()], folder, LIMIT)
        if code == 0:
            code, output = pytest(tests, folder, 3600.0)
        return output if code else ""


def measure(mutation: Mutation) -> str:
    """The verdict on one mutation, with the reason where there is one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy(folder)
        file = folder / "copy" / mutation["file"]
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if (found := text.count(mutation["old"])) != 1:
            return f"NOT APPLICABLE: `old` occurs {found} times"
        file.write_text(text.replace(mutation["old"], mutation["new"]), encoding="utf-8")
        code, output = pytest(mutation["tests"], folder, LIMIT)
    if code == -1:
        return f"caught: time limit of {LIMIT} s"
    if code in (1, 2):  # a test failed, or did not import
        failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        reason = failed[0].split(" - ")[0].partition(" ")[2] if failed else "no collection"
        return f"caught: {reason}"
    return f"NOT APPLICABLE: exit code {code} of pytest" if code else "SURVIVED"


def state() -> str:
    """A hash of what is copied: a verdict holds for these files."""
    whole = hashlib.sha256()
    with tempfile.TemporaryDirectory() as name:
        top = Path(shutil.copytree(ROOT, Path(name) / "copy", ignore=LEFT_OUT))
        for path in sorted(p for p in top.rglob("*") if p.is_file()):
            whole.update(f"{path.relative_to(top)}\0".encode() + path.read_bytes())
    return whole.hexdigest()


def key(now: str, mutation: Mutation) -> str:
    parts = [now, *(mutation[name] for name in ("file", "old", "new", "tests"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def kept() -> dict[str, str]:
    """The verdicts of earlier runs by key; a line that was cut off by a kill is passed over."""
    found = {}
    for line in RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []:
        try:
            found.update([json.loads(line)])
        except ValueError:
            continue
    return found


def keep(name: str, verdict: str) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps([name, verdict]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="those whose line of the list holds this text")
    parser.add_argument("--update", action="store_true", help="write `caught` into the list")
    parser.add_argument("--jobs", type=int, default=1, help="mutations at a time")
    arguments = parser.parse_args()
    mutations = [json.loads(line) for line in LIST.read_text(encoding="utf-8").splitlines()]
    chosen = [m for m in mutations if arguments.only in json.dumps(m, ensure_ascii=False)]
    now, start = state(), time.monotonic()
    earlier = kept()
    verdicts = {key(now, m): earlier.get(key(now, m), "") for m in chosen}
    todo = [m for m in chosen if not verdicts[key(now, m)]]
    tests = sorted({test for m in chosen for test in m["tests"]})
    base = key(now, {"file": "", "old": "", "new": "", "tests": tests})
    if todo and base not in earlier:
        print(f"unchanged: {len(tests)} test files", flush=True)
        if problem := unchanged(tests):
            print(problem, file=sys.stderr)
            return 2
        keep(base, "passed")

    def timed(m: Mutation) -> tuple[Mutation, str, float]:
        begun = time.monotonic()
        return m, measure(m), time.monotonic() - begun

    with ThreadPoolExecutor(arguments.jobs) as pool:
        try:
            for done in as_completed([pool.submit(timed, m) for m in todo]):
                m, verdict, seconds = done.result()
                verdicts[key(now, m)] = verdict
                if not verdict.startswith("NOT"):  # perhaps killed from outside: to be tried again
                    keep(key(now, m), verdict)
                print(f"{seconds:4.0f} s  {m['file']}: {m['old'][:60]!r}  {verdict}", flush=True)
        except KeyboardInterrupt:  # those that run are finished, the others are not begun
            pool.shutdown(cancel_futures=True)
            raise
    wrong = 0
    for m in chosen:
        verdict = verdicts[key(now, m)]
        kind = verdict.partition(":")[0]
        if kind == "NOT APPLICABLE" or (kind == "SURVIVED" and m["caught"]):
            wrong += 1
            print(f"wrong: {m['file']}: {m['old']!r}  {verdict}")
        if arguments.update and kind != "NOT APPLICABLE":
            m["caught"] = kind == "caught"
    if arguments.update:
        lines = [json.dumps(m, ensure_ascii=False) + "\n" for m in mutations]
        LIST.write_text("".join(lines), encoding="utf-8")
    counts = Counter(verdicts[key(now, m)].partition(":")[0] for m in chosen)
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none chosen"
    print(f"{told}; {time.monotonic() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
