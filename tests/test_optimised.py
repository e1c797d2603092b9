"""`python -OO`, which leaves out docstrings and assertions, prints the same claims."""

from __future__ import annotations

import os
import subprocess
import sys

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
}


def printed(script: str, *options: str) -> str:
    """What a fresh process prints; its hash seed is fixed, so that sets print in one order."""
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-P", *options, "-c", f"import dsf\n{script}"]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_claims_without_docstrings_and_assertions(name):
    text = printed(SCRIPTS[name])
    assert len(text.splitlines()) > 3
    assert printed(SCRIPTS[name], "-OO") == text
