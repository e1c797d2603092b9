"""Heads of softmax attention trained on linear regression in context: what they turn into."""

from __future__ import annotations

from typing import Any

from dsf.figures import Finding, Table, sweep, unknown
from dsf.solvers.icl.estimators import examples_and_query, measured
from dsf.solvers.icl.prompts import Prompts
from dsf.solvers.icl.training import batches, pattern, predict, train

TITLE = "x"
SEE = "x"
PAPER = "x"
DIFFERS = "x"
ORDER = 1
D, LENGTH, NOISE = 5, 40, 0.1
SEED, BATCH = 1029, 256
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"heads": [1, 2], "steps": 600, "every": 200, "tests": 2000},
    "default": {"heads": [1, 2, 4], "steps": 5000, "every": 100, "tests": 4000},
    "paper": {"heads": [1, 2, 4], "steps": 500_000, "every": 1000, "tests": 40_000},
}
MAPS = (0, 1000, 2000, 5000, 10_000, 30_000, 100_000, 500_000)  # steps whose maps are kept
RISKS = (5000, 30_000, 150_000)  # steps whose risks are kept, besides the last
LENGTHS = tuple(range(10, 101, 10))
TESTS = 1  # the seed of the prompts that measure risks


def one(heads: int, steps: int, every: int, tests: int) -> list[dict[str, Any]]:
    prompts = Prompts(D, LENGTH, NOISE)
    source = batches(prompts, SEED, BATCH)
    found, _ = train(source, heads, steps, lambda step: step % every == 0, SEED)
    rows: list[dict[str, Any]] = []
    for step, loss, (KQ, OV) in found:
        rows += [
            {
                "what": "head",
                "step": step,
                "loss": loss,
                "head": h,
                **pattern(KQ[h], OV[h])._asdict(),
            }
            for h in range(heads)
        ]
        if step in MAPS or step == steps:
            rows += [
                {"what": name, "step": step, "head": h, "row": i, "column": j, "value": x}
                for name, M in (("KQ", KQ), ("OV", OV))
                for h, part in enumerate(M)
                for i, line in enumerate(part.tolist())
                for j, x in enumerate(line)
            ]
        if step in RISKS or step == steps:
            trained = {"trained": lambda x, K=KQ, O=OV: predict(K, O, examples_and_query(x))[:, 0]}
            for length in LENGTHS:
                risk = measured(trained, Prompts(D, length, NOISE), TESTS, tests)["trained"]
                rows.append({"what": "risk", "step": step, "length": length,
                             "risk": risk[0], "error": risk[1]})  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = dict(PARAMETERS[profile])
    return sweep(one, [{"heads": h, **{k: v for k, v in p.items() if k != "heads"}}
                       for h in p["heads"]])  # fmt: skip


def findings(table: Table) -> list[Finding]:
    return [unknown("x", "y")]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots()[0]
