"""`python -OO`, which leaves out docstrings and assertions, prints the same claims."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SCRIPTS = {
    "comparisons": """
for a, b in [("retnet", "gla"), ("softmax", "gla"), ("linear_attn", "mamba2")]:
    comparison = dsf.compare(a, b)
    print(comparison)
    for certificate in comparison.certificates:
        print(certificate.check(), certificate.to_json())
""",
    "edges": """
from dsf.core.certificate import Scope
for edge in dsf.lattice.edges():
    print(edge.claim(), edge.claim(Scope.MECHANISM), sep="\\n")
print(dsf.lattice.edge("retnet -> gla").certificate(Scope.MECHANISM))
""",
    "mechanisms": """
for name in ("gla", "mamba(skip=True)", "softmax", "gru"):
    print(dsf.family(name).describe())
    print(dsf.family(name).init(d=4))
""",
    "atlas": """
print(dsf.atlas("gla"))
""",
    "certificates": """
import numpy
from dsf.solvers.svm.instances import draw
print(dsf.stability(dsf.Dense(numpy.eye(2)[None] / 2)).certificate)
instance = draw(0, 3, 4, 3)
print(dsf.solvers.attention_svm(instance.X, instance.z, instance.optimal).certificate)
""",
    "systems": """
import numpy as np
mech, u = dsf.gla.init(d=4, n=2, p=2, heads=2), np.linspace(-1, 1, 24).reshape(6, 4)
ltv, X = mech.system_on(u)
print(ltv, ltv.scan(X)[0].sum(), ltv.chunk(X, 2)[0].sum(), ltv.kernel().sum())
y, state = mech.run(u)
print(y.sum(), state, dsf.gla.without_parameters())
found = dsf.realize(ltv.kernel()[0], rtol=1e-2)
need = dsf.states_needed(mech, u, rtol=1e-2)
print(found.lower, found.upper, found.certificate.check(), need.certificate, need.check())
print(mech._repr_html_(), dsf.interop.to_latex(ltv, head=0))
print(dsf.cite("gla"), dsf.cite(mech))
print(dsf.testing.check_mechanism(dsf.gla.init(d=2)))
""",
    "refusals": """
import dataclasses
import numpy as np
certificate = dsf.compare("softmax", dsf.recurrence(3)).certificates[0]
known = certificate.witnesses
forged = dataclasses.replace(certificate, witnesses={**known, "keys": [[0, 0, 0, 0]]})
element = dsf.gla.init(d=2).ltv(np.ones((3, 2))).element
nesting = dsf.lattice.edge("retnet -> gla")
wrong = dataclasses.replace(nesting, tau=lambda tok: nesting.tau(tok).replace(q=2 * tok.q))
for refused in (
    lambda: dsf.gla.init(d=2)(np.ones((3, 5))), lambda: dsf.gla.init(d=2, n=0), forged.check,
    lambda: element(2, 2), lambda: dsf.family("gal"), lambda: dsf.compare("gla", 3),
    lambda: wrong.certificate().check(), lambda: dsf.linearise(dsf.gru.init(d=2), np.ones((0, 2))),
    lambda: dsf.linear_attn(normalise=True).init(d=2)(np.zeros((1, 2))),
):
    try:
        print("accepted", refused())
    except dsf.errors.DSFError as e:
        print(type(e).__name__, str(e).splitlines()[0])
""",
    "command line": """
import contextlib, sys
from dsf.tools import cli
for text, code in {
    "--help": 0, "figure --help": 0, "compare gla retnet": 0, "compare gla nothing": 2,
    "theorem parity L=20": 0, "theorem": 0, "figure": 0, "theorem parity L=-1": 2,
}.items():
    with contextlib.redirect_stderr(sys.stdout):
        try:
            found = cli.main(text.split())
        except SystemExit as e:
            found = e.code
    print(text, found, "as it should be" if found == code else sys.exit(text))
""",
}
ALL = f"""
import dsf
for name, script in {SCRIPTS}.items():
    print(flush=True, end="\\f")
    exec(script, {{"dsf": dsf}})
"""
ROOT = Path(__file__).parents[1]
ROOMS = ("dsf", "solvers", "kernels", "theory_tests", "figures", "benchmarks")


@cache
def printed(*options: str) -> dict[str, str]:
    """What each script prints in a fresh process that runs all of them; its hash seed is fixed, so
    that sets print in one order."""
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-P", *options, "-c", ALL]
    run = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return dict(zip(SCRIPTS, run.stdout.split("\f")[1:], strict=True))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_claims_without_docstrings_and_assertions(name):
    text = printed()[name]
    assert len(text.splitlines()) > 3
    assert printed("-OO")[name] == text


# ------------------------------------------------------------------------ the source
def narrows(test: ast.expr) -> bool:
    """Whether a condition only tells the type checker what is known: no work, no decision."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return all(map(narrows, test.values))
    if isinstance(test, ast.Call):
        return getattr(test.func, "id", "") == "isinstance"
    ops = test.ops if isinstance(test, ast.Compare) else []
    return len(ops) == 1 and isinstance(ops[0], ast.IsNot)


def leans_on_debugging(tree: ast.Module) -> list[int]:
    """Lines with an assertion that decides something, or that read a docstring as if it were."""
    found, safe = [], set()
    nodes = [*ast.walk(tree)]
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            safe |= {id(x) for x in ast.walk(node)}  # pytest runs it, and needs assertions
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            safe.add(id(node.values[0]))  # `__doc__ or ""`
    for node in nodes:
        name = getattr(node, "id", "") or getattr(node, "attr", "")
        decides = isinstance(node, ast.Assert) and not narrows(node.test)
        if id(node) not in safe and (decides or name in ("__doc__", "getdoc", "__debug__")):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "line, found",
    [
        ("assert x > 0", True),
        ("assert x is not None and f(x)", True),
        ("assert isinstance(x, int) and y is not None", False),
        ("print(f.__doc__.splitlines())", True),
        ("print((__doc__ or '').splitlines())", False),
        ("inspect.getdoc(f)", True),
        ("def test_f():\n    assert f() == 2", False),
    ],
)
def test_what_is_looked_for(line, found):
    assert bool(leans_on_debugging(ast.parse(line))) == found


def test_no_line_leans_on_assertions_or_docstrings():
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    files = [path for path in files if "build" not in path.relative_to(ROOT).parts]
    assert len(files) > 200
    for path in files:
        assert leans_on_debugging(ast.parse(path.read_text(encoding="utf-8"))) == [], path
