"""The rules of the figures on linear regression in context: a table on either side of each.

Training is too short in the smoke profile to be judged, so these tables are the kept ones.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from changes import both, put, times

from dsf.figures import Table

BAD = "does not hold"
RESULTS = Path(__file__).resolve().parents[2] / "figures" / "icl" / "results"


def off(sigmas):
    """The closed form of a row and that many of its standard errors."""
    return lambda r: r["closed"] + sigmas * r["error"]


END = {"step": 500_000}
CASES = [  # figure, first words of a finding, a change it bears, one it does not
    ("estimators", "GD:", put("closed", 0.6434 * 1.019, method="gd", length=10),
     put("closed", 0.6434 * 1.021, method="gd", length=10)),
    ("estimators", "one head:", put("value", 0.2844 * 1.034, method="one head of 40", length=100),
     put("value", 0.2844 * 1.036, method="one head of 40", length=100)),
    ("estimators", "Two heads learn", times("value", 1.005, method="pair", length=70),
     times("value", 1.02, method="pair", length=70)),
    ("estimators", "No closed forms", put("value", off(4.4), method="ols", length=100),
     put("value", off(4.6), method="ols", length=100)),
    ("estimators", "Softmax attention", put("value", 11.0, method="unnormalised", length=640),
     put("value", 9.0, method="unnormalised", length=640)),
    ("head_flow", "Signs of", put("matched", True, what="starts"),
     put("matched", False, what="starts", heads=2)),
    ("head_flow", "Active heads", put("spread", lambda r: 0.049 * r["mean"], what="starts"),
     put("spread", lambda r: 0.051 * r["mean"], what="starts", heads=6)),
    ("head_flow", "That heads split", put("one_sign", True, what="starts"),
     put("one_sign", False, what="starts", heads=2)),
    ("head_flow", "No law", times("omega", 1.009, what="law", seed=4),
     times("omega", 1.011, what="law", seed=4)),
    ("head_flow", "No least value", put("loss", 0.2209, what="starts", heads=3),
     put("loss", 0.2208, what="starts", heads=3)),
    ("emergence", "KQ_h is diagonal", put("diagonal", 0.991, what="head", **END),
     put("diagonal", 0.989, what="head", **END)),
    ("emergence", "two heads: share", put("value", 0.9952, heads=2, what="head", **END),
     put("value", 0.9940, heads=2, what="head", **END)),
    ("emergence", "signs of", put("mu", lambda r: r["mu"], what="head", **END),
     times("mu", -1, what="head", heads=1, **END)),
    ("emergence", "one head:", times("omega", 1.01, what="head", heads=1, **END),
     times("omega", 1.1, what="head", heads=1, **END)),
    ("emergence", "of four heads", times("omega", 1.02, what="head", heads=4, step=150_000),
     times("omega", 1.2, what="head", heads=4, step=150_000)),
    ("emergence", "|omega| stays", times("omega", 1.03, what="head", heads=2, **END),
     times("omega", 0.9, what="head", heads=2, **END)),
    ("emergence", "H = 2:", put("risk", 0.2410 * 1.039, what="risk", heads=2, length=40, **END),
     put("risk", 0.2410 * 1.041, what="risk", heads=2, length=40, **END)),
    ("emergence", "two heads or more", put("risk", 0.2500, what="risk", heads=2, length=40, **END),
     put("risk", 0.2650, what="risk", heads=2, length=40, **END)),
    ("preconditioner", "no risks", put("risk", 0.2368 * 1.02, what="risk", rho=0.5),
     put("risk", 0.2368 * 1.2, what="risk", rho=0.5)),
    ("preconditioner", "KQ is proportional", times("value", 1.5, what="KQ", rho=0.5),
     put("value", lambda r: float(r["row"] == r["column"]), what="KQ", rho=0.5)),
    ("preconditioner", "the size of", times("value", 1.01, what="OV", rho=0.5),
     times("value", 1.2, what="OV", rho=0.5)),
    ("superposition", "four heads: the values", times("ov0", 1.0, what="head", heads=4, **END),
     put("ov0", 1.0, what="head", heads=4, **END)),
    ("superposition", "four heads: each", times("ov0", 1.0, what="head", heads=4, **END),
     put("ov0", 1.2, what="head", heads=4, head=0, **END)),
    ("superposition", "three heads: in", times("ov0", 1.0, what="head", heads=3, **END),
     put("ov0", 0.0, what="head", heads=3, head=1, **END)),
    ("superposition", "four heads: diagonals", times("ov0", 1.05, what="head", heads=4, **END),
     both(times("ov0", 1.2, what="head", heads=4, **END),
          times("ov1", 1.2, what="head", heads=4, **END))),
    ("superposition", "no effective matrices of 3", times("kq0", 1.02, what="head", heads=3, **END),
     times("kq0", 1.07, what="head", heads=3, **END)),
    ("superposition", "no closed form", put("risk", 0.4122 + 0.019, what="risk"),
     put("risk", 0.4122 + 0.021, what="risk")),
    ("superposition", "no difference", put("risk", 0.412, what="risk"),
     put("risk", 0.60, what="risk", heads=3)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "inside", "outside"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES]
)
def test_every_rule_has_two_sides(name, words, inside, outside):
    module = importlib.import_module(f"dsf.figures.icl.{name}")
    kept = Table.from_csv((RESULTS / f"{name}.csv").read_text(encoding="utf-8"))
    verdicts = []
    for change in (inside, outside):
        rows = [dict(r) for r in kept]
        change(rows)
        found = [f for f in module.findings(Table(rows)) if f.paper.startswith(words)]
        assert len(found) == 1, words
        verdicts.append(found[0].verdict)
    assert verdicts[0] != BAD and verdicts[1] == BAD
