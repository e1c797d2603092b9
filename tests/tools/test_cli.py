"""The command line: what it passes on, what it prints, and that its exit codes are honest."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
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
    assert "n=3, name='word'" in out and "DOES NOT HOLD" in out


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
