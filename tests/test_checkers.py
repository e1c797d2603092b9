"""A checker loads nothing of what finds its claims: they share words, not arithmetic."""

from __future__ import annotations

import subprocess
import sys

import pytest

SVM = "dsf.solvers.svm.check"
REGRESSION = "dsf.solvers.regression.check"
APART = [
    # checkers, what must not be loaded with them, but for these
    (["dsf.claims.stability"], ["dsf.spectra", "dsf.core.mechanism"], []),
    (["dsf.claims.realization"], ["dsf.states", "dsf.core.system", "scipy", "torch", "sympy"], []),
    (
        [f"{SVM}.balls", f"{SVM}.margin", f"{SVM}.selection"],
        ["dsf.solvers", "scipy", "cvxpy"],
        [
            "dsf.solvers",
            "dsf.solvers.svm",
            SVM,
            f"{SVM}.balls",
            f"{SVM}.margin",
            f"{SVM}.selection",
        ],
    ),
    (
        [f"{REGRESSION}.balls", f"{REGRESSION}.optimum"],
        ["dsf.solvers", "scipy", "torch"],
        [
            "dsf.solvers",
            "dsf.solvers.regression",
            REGRESSION,
            f"{REGRESSION}.balls",
            f"{REGRESSION}.optimum",
        ],
    ),
]


@pytest.mark.parametrize("checkers, finders, allowed", APART, ids=[c[0][0] for c in APART])
def test_a_checker_loads_nothing_of_its_finder(checkers, finders, allowed):
    code = f"import sys, {', '.join(checkers)}; print(*sys.modules)"
    run = [sys.executable, "-P", "-c", code]
    loaded = set(subprocess.run(run, capture_output=True, check=True, text=True).stdout.split())
    assert set(checkers) <= loaded
    bad = [m for m in loaded for f in finders if m == f or m.startswith(f"{f}.")]
    assert set(bad) <= set(allowed)
