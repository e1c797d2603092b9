"""README, ARCHITECTURE and TUTORIAL say what is there: names, paths, commands, counts."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dsf
from dsf.tools import cli

ROOT = Path(__file__).parents[1]
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "ARCHITECTURE.md", "TUTORIAL.md")
}
README = TEXTS["README.md"]
QUOTED = [(n, q) for n, text in TEXTS.items() for q in sorted({*re.findall(r"`([^`\n]+)`", text)})]


def paths(quoted: str) -> list[str]:
    """The words that look like files or folders."""
    found = re.findall(r"(?<!\S)[\w.*/]+(?:\.py|\.md|\.cff|\.toml|/)(?=$|\s)", quoted)
    return [path for path in found if re.search(r"\w", path)]


def exists(path: str) -> bool:
    places = (ROOT, ROOT / "dsf", *(ROOT / "dsf" / room for room in ("core", "core/worlds")))
    places += (ROOT / "tests" / "adversary", ROOT / "solvers")
    return any(any(place.glob(path.rstrip("/"))) for place in places)


def known(name: str) -> bool:
    """Whether a dotted name that starts with dsf can be reached."""
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:cut]))
        except ImportError:
            continue
        try:
            for word in words[cut:]:
                found = getattr(found, word)
        except AttributeError:
            return False
        return True
    return False


def test_what_these_helpers_see():
    assert paths("python tests/bad_input.py of core/") == ["tests/bad_input.py", "core/"]
    assert paths("figures/<paper>/results/ d/2") == []
    assert exists("core/hooks.py") and exists("dsf/claims/") and not exists("core/hook.py")
    assert known("dsf.solvers.dynamics.descent") and known("dsf.core.ops")
    assert not known("dsf.solvers.dynamics.descend") and not known("dsf.instances")


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_is_there(name):
    found = {path for n, quoted in QUOTED if n == name for path in paths(quoted)}
    assert len(found) > 5 or name == "TUTORIAL.md"
    assert {path for path in found if not exists(path)} == set()


@pytest.mark.parametrize("name", TEXTS)
def test_every_name_is_there(name):
    found = {*re.findall(r"(?<![\w./])dsf(?:\.[a-zA-Z_]\w*)+", TEXTS[name])}
    found -= {"dsf.mine"}
    assert len(found) > 5
    assert {word for word in found if not known(word)} == set()


def test_every_target_is_there():
    targets = {*re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)}
    named = {
        t for text in TEXTS.values() for t in re.findall(r"(?:`|^    )make ([a-z]+)", text, re.M)
    }
    assert {"figures", "test", "check", "slow", "mutants", "portable", "clean"} <= named <= targets


# ------------------------------------------------------------------------ commands
COMMANDS = sorted(
    {
        c.split("#")[0].strip()
        for text in TEXTS.values()
        for c in re.findall(r"(?:`|^ {4}|  )(?:\$ )?(dsf [a-z][^`\n]*?)(?=`|\n|   )", text, re.M)
    }
)


def test_the_commands_are_found():
    assert {"dsf compare linear_attn retnet", "dsf doctor", "dsf atlas"} <= {*COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command, capsys):
    words = shlex.split(command)[1:]
    if "NAME" in words:  # builds a figure: only that it is understood
        with pytest.raises(SystemExit) as e:
            cli.main([*words, "--help"])
        assert e.value.code == 0 and "--profile" in capsys.readouterr().out
        return
    assert cli.main(words) == 0
    assert capsys.readouterr().out


def test_the_verdicts_are_those_of_the_table():
    rows = re.findall(r"^\| `([A-Z_]+)` \|", README, re.M)
    assert rows == [v.name for v in dsf.Verdict]


# -------------------------------------------------------------------- other libraries
def test_the_calls_for_those_who_come_from_another_library():
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.standard_normal((1, 5, 2, 3)) for _ in range(4))
    delta, u = rng.random((2, 1, 4, 5))
    A, B, C, D, bias = -rng.random((4, 3)), *rng.random((2, 1, 3, 5)), np.ones(4), np.zeros(4)
    mech = dsf.gla.init(d=2, n=2, p=2)
    names = {
        "dsf": dsf, "q": q, "k": k, "v": v, "g": -abs(g), "u": u, "delta": delta, "A": A, "B": B,
        "C": C, "D": D, "bias": bias, "mech": mech, "i": 1, "h": 0,
    }  # fmt: skip
    section = README.partition("## Coming from another library")[2].partition("\n## ")[0]
    calls = [" ".join(c.split()) for c in re.findall(r"`(dsf\.[^`]+\))`", section)]
    calls.remove("dsf.mamba(skip=True)")
    assert len(calls) == 4
    system, tokens, column, text = (
        eval(call, {**names, "u": np.ones((3, 2))} if "mech" in call else names) for call in calls
    )
    assert system[0].length == 5 and system[1].shape[-3] == 5
    assert {*tokens.names} >= {"q", "k", "v", "dt", "skip"} and column.A.shape == (2, 2)
    assert text.startswith("\\begin{aligned}")


# ---------------------------------------------------------------------------- counts
def test_the_lines_that_are_broken_are_counted_and_still_there():
    text = (ROOT / "tests" / "mutations" / "mutations.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert re.search(r"`make mutants` breaks (\d+) lines", README)[1] == str(len(rows))
    assert all(row["caught"] for row in rows)
    assert len({(row["file"], row["old"], row["new"]) for row in rows}) == len(rows)
    for row in rows:
        assert (ROOT / row["file"]).read_text(encoding="utf-8").count(row["old"]) == 1, row


def test_bad_input_is_about_as_many_mechanisms_as_there_are():
    from dsf.core.catalogue import everything

    assert re.search(r"prints the counts, over (\d+) mechanisms", README)[1] == str(
        len(everything())
    )


@pytest.mark.slow
def test_the_script_prints_the_table_of_the_readme():
    command = [sys.executable, "-P", str(ROOT / "tests" / "bad_input.py")]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) == 23 and "\n".join(rows) in README


# ---------------------------------------------------------------------- architecture
def test_the_table_of_kernels_is_the_measured_one():
    """As `make bench` wrote it, with every row of the numbers it kept."""
    results = ROOT / "benchmarks" / "results"
    table = (results / "kernels.md").read_text(encoding="utf-8")
    kept = json.loads((results / "kernels.json").read_text(encoding="utf-8"))
    assert table in README
    for row in kept["rows"]:
        start = f"| {row['kernel']}, {row['dtype']} | {row['L']} | {row['ms']:.3g} |"
        assert start in table


def test_the_table_of_the_gpu_is_the_measured_one():
    printer = runpy.run_path(str(ROOT / "benchmarks" / "gpu_table.py"))
    kept = json.loads(printer["KEPT"].read_text(encoding="utf-8"))
    assert printer["table"](kept) in README and kept["device"] in README
    assert printer["backward"](kept) in README


def test_the_floors_are_those_of_the_test():
    text = TEXTS["ARCHITECTURE.md"].partition("    FLOORS = (")[2].partition("\n    )")[0]
    floors = runpy.run_path(str(ROOT / "tests" / "test_house.py"))["FLOORS"]
    shown = re.sub(r"#.*", "", text)
    assert eval(f"({shown})") == floors


def test_the_mechanism_shown_is_the_file():
    text = (
        TEXTS["ARCHITECTURE.md"].partition("## To add a mechanism")[2].partition("Nothing else")[0]
    )
    lines = [line.split("  #")[0].strip() for line in re.findall(r"^ {4}(.*)$", text, re.M)]
    wanted = [line.removesuffix(" ...") for line in lines if line not in ("", "...")]
    source = (ROOT / "dsf" / "mechanisms" / "linear" / "gla.py").read_text(encoding="utf-8")
    source = re.sub(r"(\w): Array\b|(\w): Tokens\b| -> [^:\n]+(?=:\n)", r"\1\2", source)
    shown = [re.sub(r"(\w): Array\b", r"\1", line.removesuffix('"""')) for line in wanted]
    assert len(shown) > 8 and [line for line in shown if line not in source] == []
