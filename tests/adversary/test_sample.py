"""A sample of the attack, and that nothing is left out of it; all of it with `make slow`."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from attack import Count, attack, every, honest_and_true
from comparisons import forged_comparisons, forged_results, honest, passes
from forgeries import forgeries
from honest import examples
from judge import JUDGES, verdict

from dsf.claims import kinds

pytestmark = pytest.mark.solver
SAMPLE = 6  # forgeries of each kind
LONGEST = 5.0  # seconds that a check may take


def test_every_kind_is_attacked_and_judged():
    assert set(JUDGES) == set(kinds()) == {c.kind for c in examples().values()}


@pytest.mark.parametrize("kind", kinds())
def test_the_judge_calls_honest_certificates_true(kind):
    known = {name: c for name, c in examples().items() if c.kind == kind}
    assert [name for name, c in known.items() if verdict(c) is not True] == []


def nothing_false(counts: dict[str, Count]) -> None:
    for kind, c in counts.items():
        assert not c.false, [(kind, f.source, f.how, f.certificate.claim) for f in c.false]
        assert not c.open, [(kind, f.source, f.how, f.certificate.claim) for f in c.open]


@pytest.mark.parametrize("kind", kinds())
def test_a_sample_of_forgeries(kind):
    known = {name: c for name, c in examples().items() if c.kind == kind}
    made = [f for name, c in known.items() for f in forgeries(name, c, known)]
    picked = np.random.default_rng(len(made)).choice(len(made), min(SAMPLE, len(made)), False)
    counts = attack(made[i] for i in picked)
    nothing_false(counts)
    assert sum(c.tried for c in counts.values()) == min(SAMPLE, len(made)) > 0


def test_honest_comparisons_pass():
    assert [f"{c.left} | {c.right}" for c in honest() if not passes(c)] == []


def test_forged_results_are_refused():
    assert [how for how, made in forged_results() if passes(made)] == []


def test_some_forged_comparisons_are_refused():
    records = [*forged_comparisons()]
    assert len(records) > 300
    some = np.random.default_rng(1).choice(len(records), 20, replace=False)
    assert [records[i][0] for i in some if passes(records[i][1])] == []


@pytest.mark.slow
def test_all_forgeries():
    assert honest_and_true() == []
    nothing_false(attack(every()))


@pytest.mark.slow
def test_all_forged_records_are_refused():
    assert [how for how, made in (*forged_comparisons(), *forged_results()) if passes(made)] == []


# --------------------------------------------------------------------- untrusted text
FORBIDDEN = {"eval", "exec", "__import__", "loads", "load", "literal_eval", "open"}
# where text of others arrives, and what it passes on the way to a check
READERS = (
    "core/certificate.py", "core/foreign.py", "core/result.py", "claims", "verdicts/comparison.py",
    "verdicts/finding.py", "verdicts/rules.py", "states/realization.py", "spectra/stability.py",
)  # fmt: skip


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            f = node.func
            name = f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")
            found.append((name, node))
    return found


def test_no_text_is_evaluated_imported_or_unpickled():
    import dsf

    root = Path(dsf.__file__).parent
    files = [f for x in READERS for f in (sorted((root / x).glob("*.py")) or [root / x])]
    assert len(files) > 30
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for name, call in calls(tree):
            text = ast.unparse(call)
            evaluated = name in FORBIDDEN or text.startswith("compile(")
            assert not evaluated or text.startswith("json.loads("), f"{file}: {text}"
            assert name != "import_module" or isinstance(call.args[0], ast.Constant), text
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not names & {"pickle", "marshal", "shelve", "importlib", "runpy"}, file
