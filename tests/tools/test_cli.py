"""The command line: what it passes on, what it prints, and that its exit codes are honest."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import dsf
import dsf.theory_tests
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError, MissingExtraError, ShapeError, UnknownNameError
from dsf.theory_tests import Theorem, judge, theorems
from dsf.tools import cli, doctor


def compare_with(monkeypatch, function):
    """Put a stand-in for dsf.compare in place (not setattr: it would import the real one)."""
    monkeypatch.setitem(vars(dsf), "compare", function)


class Result:
    def __str__(self):
        return "NESTED"

    def to_json(self):
        return json.dumps({"verdict": "NESTED"})


@pytest.mark.smoke
def test_compare_passes_names_and_input_on(monkeypatch, capsys):
    calls = []
    compare_with(monkeypatch, lambda *a, **k: calls.append((a, k)) or Result())
    assert cli.main(["compare", "gla", "mamba"]) == 0
    assert capsys.readouterr().out == "NESTED\n"
    assert calls.pop() == (("gla", "mamba"), {})

    arguments = "compare gla mamba --length 5 --dim 3 --seed 7 --rtol 0.1 --json".split()
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"verdict": "NESTED"}
    (_, options) = calls.pop()
    expected = np.random.default_rng(7).standard_normal((5, 3))
    assert options.pop("rtol") == 0.1 and options.keys() == {"u"}
    np.testing.assert_array_equal(options["u"], expected)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UnknownNameError("no family 'mambo'; there is mamba"), 2, "there is mamba"),
        (ShapeError("u must be [L d]"), 2, "u must be"),
        (MissingExtraError("control is not installed"), 3, "control"),
        (ModuleNotFoundError("No module named 'pandas'", name="pandas"), 3, "pandas is not"),
        (CertificateError("the bound does not follow"), 1, "does not follow"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(monkeypatch, capsys, error, code, says):
    def fail(a, b):
        raise error

    compare_with(monkeypatch, fail)
    assert cli.main(["compare", "gla", "mambo"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("dsf: ") and says in err and err.count("\n") == 1


def test_a_defect_shows_its_traceback(monkeypatch, capsys):
    compare_with(monkeypatch, lambda a, b: 1 // 0)
    assert cli.main(["compare", "gla", "mamba"]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err and "a defect of dsf" in err


@pytest.mark.parametrize("name", ["length", "dim", "seed"])
@pytest.mark.parametrize("text", ["abc", "1.5", "-1", "", "nan", "1e3", "9" * 5000, "²"])
def test_a_size_is_a_whole_number(name, text, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["compare", "gla", "mamba", f"--{name}={text}"])
    err = capsys.readouterr().err
    assert end.value.code == 2 and "must be" in err
    assert "_size" not in err and "_seed" not in err and len(err) < 400


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rtol=abc", "--length=4"], "must be a number; got 'abc'"),
        (["--rtol=nan", "--length=4"], "rtol must be finite"),
        (["--rtol=-1", "--length=4"], "rtol must be finite and not negative"),
        (["--rtol=0.1"], "--rtol belongs to a comparison on an input; give its --length too"),
        (["--dim=3"], "--dim belongs to"),
        (["--seed=3"], "--seed belongs to"),
        (["--length=99999999999"], "[99999999999 99999999999] takes"),
        (["--length=" + "9" * 30], "TooLargeError"),
        (["--length=4", "--dim=999999999999"], "TooLargeError"),
    ],
)
def test_an_input_that_cannot_be_compared(arguments, says, capsys):
    try:
        code = cli.main(["compare", "gla", "mamba", *arguments])
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2 and says in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GLA", "gla?"),
        ("S6", "mamba?"),
        ("SSD", "mamba2?"),
        ("DeltaNet", "deltanet?"),
        ("linearattention", "linear_attn, normalised_linear_attn?"),
        (" Softmax ", "softmax?"),
        ("S6(skip=True)", "mamba?"),
        ("retnt", "retnet"),
    ],
)
def test_the_name_of_a_class_suggests_its_family(name, meant, capsys):
    assert cli.main(["compare", name, "gla"]) == 2
    assert f"Did you mean {meant}" in capsys.readouterr().err
    for asked in (lambda: dsf.family(name), lambda: dsf.compare("gla", name)):
        with pytest.raises(UnknownNameError, match="Did you mean") as error:
            asked()
        assert f"Did you mean {meant}" in str(error.value)


@pytest.mark.parametrize("name", ["", "ü", "gla(", "\udcff", "recurrence(3)"])
def test_what_is_no_name_at_all(name, capsys):
    assert cli.main(["compare", "gla", "--", name]) == 2
    assert "no mechanism named" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["compose"], ["compare", "gla"], ["compare", "a", "b", "--length", "0"]]
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2 and "usage: dsf" in capsys.readouterr().err


@pytest.fixture
def sample(monkeypatch):
    """A theorem that is true for even n."""
    module = ModuleType("dsf.theory_tests.sample")
    vars(module)["claim"] = lambda n=2, name="x": (n % 2 / 1, 0.0, 1e-12)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    theorem = Theorem("sample", "n is even", "Euclid, book IX", "an odd n")
    monkeypatch.setattr(dsf.theory_tests, "theorems", lambda: [theorem])


def test_theorems_are_listed_and_run(sample, capsys):
    assert cli.main(["theorem"]) == 0
    assert "n is even" in capsys.readouterr().out
    assert cli.main(["theorem", "sample"]) == 0
    out = capsys.readouterr().out
    for text in ("Euclid, book IX", "an odd n", "n=2, name='x'", "difference  0", "\nHOLDS"):
        assert text in out
    assert cli.main(["theorem", "sample", "n=3", "name=word"]) == 1
    out = capsys.readouterr().out
    assert "n=3, name='word'" in out and "DOES NOT HOLD for n=3, name='word'\n" in out


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["n=abc"], "DTypeError: theorem sample: n is a whole number, by default 2; got 'abc'"),
        (["n=1.5"], "n is a whole number, by default 2; got 1.5"),
        (["n=True"], "n is a whole number"),
        (["n=None"], "n is a whole number"),
        (["n=1e999"], "got inf"),
        (["name=3"], "name is a word, by default 'x'; got 3"),
        (["x=1e999"], "DomainError: theorem sample: x must be finite; got inf"),
        (["x=nan"], "x is a number, by default 0.5; got 'nan'"),
        (["flag=1"], "flag is True or False"),
        (["sizes=3"], "sizes is a list like (1, 2)"),
        (["n=3", "n=4"], "n is given twice"),
        (["n=-1"], "cannot be computed with n=-1 (ValueError: negative). Likely cause: a value"),
        (["n=" + "(" * 900 + ")" * 900], "n is a whole number"),
    ],
)
def test_a_value_that_a_theorem_cannot_take(monkeypatch, sample, capsys, values, says):
    def claim(n=2, name="x", x=0.5, flag=False, sizes=(1, 2)):
        if n < 0:
            raise ValueError("negative")
        return (x, x, 0.0)

    monkeypatch.setattr(sys.modules["dsf.theory_tests.sample"], "claim", claim)
    assert cli.main(["theorem", "sample", *values]) == 2
    out, err = capsys.readouterr()
    assert says in err and err.startswith("dsf: ") and err.count("\n") == 1
    assert "HOLD" not in out
    assert cli.main(["theorem", "sample", "x=1", "sizes=[1]", "flag=True"]) == 0


def test_a_theorem_that_fails_on_its_own_values_is_a_defect(monkeypatch, sample, capsys):
    monkeypatch.setattr(sys.modules["dsf.theory_tests.sample"], "claim", lambda n=2: 1 // 0)
    assert cli.main(["theorem", "sample"]) == 4
    assert "a defect of dsf" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["L=abc", "L=0.5", "L=-1"])
def test_the_bad_values_of_a_real_theorem(value, capsys):
    assert cli.main(["theorem", "parity", value]) == 2
    assert "theorem dsf/parity" in capsys.readouterr().err


def test_a_theorem_goes_by_its_last_name_where_that_is_its_own(monkeypatch, capsys):
    assert cli.main(["theorem", "parity"]) == 0
    assert "theorem       dsf/parity" in capsys.readouterr().out
    assert cli.main(["theorem", "paritty"]) == 2
    assert "there is dsf/parity" in capsys.readouterr().err
    assert cli.main(["theorem", "Ü"]) == 2
    assert "`dsf theorem` lists all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["theorem", "simple"], "no theorem 'simple'; there is sample"),
        (["theorem", "sample", "m=3"], "no parameter of sample 'm'; there is n"),
        (["figure", "nonsense"], "no figure 'nonsense'"),
    ],
)
def test_unknown_names(sample, capsys, arguments, says):
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_judge():
    assert judge((np.ones(3), np.ones(3) + 1e-9, 1e-8)).holds
    assert not judge((np.ones(3), np.ones(3) + 1e-7, 1e-8)).holds
    assert not judge((np.nan, 0.0, np.inf)).holds
    assert not judge([(0.0, 0.0, 0.0), (0.0, 1.0, 0.5)]).holds
    with pytest.raises(ShapeError):
        judge((np.ones(3), np.ones(1), 1.0))
    with pytest.raises(TypeError, match="a claim returns"):
        judge(True)
    unknown = Certificate("no-such-kind", "x", Scope.OPERATOR, Strength.SAMPLED)
    refused = judge(unknown)
    assert not refused.holds and "check() refuses it" in refused.lines[-1]


def test_every_theorem_follows_the_protocol():
    for theorem in theorems():
        assert theorem.statement and theorem.reference and theorem.falsified_by, theorem.name
        required = [n for n, d in theorem.parameters().items() if d is inspect.Parameter.empty]
        assert not required, theorem.name


@pytest.mark.smoke
def test_figures_are_listed(capsys, tmp_path):
    assert cli.main(["figure", "--out", str(tmp_path)]) == 0
    assert "title" in capsys.readouterr().out


def test_doctor_finds_this_machine_in_order(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in (*doctor.REQUIRED, *doctor.OPTIONAL, "conic solvers", "GPU", "threads", "font"):
        assert name in out


def test_doctor_says_what_a_missing_library_costs(monkeypatch, capsys):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "sympy" else version(name))
    assert doctor.report() == 3
    out = capsys.readouterr().out
    assert "no proofs of nestings" in out and "Needs attention: sympy." in out


def test_doctor_survives_a_broken_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", SimpleNamespace())
    broken = [f for f in doctor.examine() if not f.ok]
    assert [f.what for f in broken] == ["solvers"] and "AttributeError" in broken[0].remark


def test_the_installed_command():
    run = subprocess.run(
        [sys.executable, "-P", "-m", "dsf.tools.cli", "--version"], capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout == f"dsf {dsf.__version__}\n"


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -P -m dsf.tools.cli theorem | true"
    run = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True)
    assert run.returncode == 0 and run.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_no_defect():
    command = f"{sys.executable} -P -m dsf.tools.cli theorem > /dev/full"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "dsf: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("command", ["figure", "theorem", "compare gla ü"])
def test_a_terminal_that_knows_ascii_only(command):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(
        [sys.executable, "-P", "-m", "dsf.tools.cli", *command.split()],
        capture_output=True,
        env=environment,
    )
    assert b"Traceback" not in run.stderr and run.stdout.isascii()
    if command.isascii():
        assert run.returncode == 0 and len(run.stdout.splitlines()) > 10 and not run.stderr
    else:
        assert run.returncode == 2 and not run.stdout and b"no mechanism named" in run.stderr


def test_a_closed_output_is_none():
    command = f"{sys.executable} -P -m dsf.tools.cli figure >&-"
    run = subprocess.run(["bash", "-c", command], capture_output=True)
    assert run.returncode == 0 and run.stderr == b""
