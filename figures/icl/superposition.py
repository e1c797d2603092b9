"""Two regressions in one prompt: how many heads serve how many tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, sweep, unknown
from dsf.solvers.icl.tasks import Tasks
from dsf.solvers.icl.training import predict, train

TITLE = "x"
SEE = "x"
PAPER = "x"
DIFFERS = "x"
ORDER = 5
SEED, BATCH = 1029, 256
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"heads": [3], "steps": 600, "every": 200, "tests": 2000},
    "default": {"heads": [3, 4], "steps": 5000, "every": 500, "tests": 20_000},
    "paper": {"heads": [3, 4], "steps": 500_000, "every": 1000, "tests": 100_000},
}
TESTS = 1  # the seed of the prompts that measure the risk
CHUNK = 2000


def one(heads: int, steps: int, every: int, tests: int) -> list[dict[str, Any]]:
    tasks = Tasks()
    found, _ = train(tasks.batches(SEED, BATCH), heads, steps, lambda step: step % every == 0, SEED)
    rows: list[dict[str, Any]] = []
    for step, loss, (KQ, OV) in found:
        for h in range(heads):
            diagonal = np.diagonal(KQ[h])[: tasks.d]
            size = np.linalg.norm(KQ[h][:, : tasks.d])
            cells = {f"kq{i}": float(x) for i, x in enumerate(diagonal)}
            cells |= {f"ov{t}": float(OV[h, t, tasks.d + t]) for t in range(len(OV[h]))}
            rows.append({
                "what": "head", "step": step, "loss": loss, "head": h, **cells,
                "diagonal": float(np.linalg.norm(diagonal) / size),
                "value": float(sum(x**2 for k, x in cells.items() if k[0] == "o") / (OV[h]**2).sum()),
            })  # fmt: skip
    rng, parts = np.random.default_rng(TESTS), []
    for _ in range(tests // CHUNK):
        u, target = tasks.draw(rng, CHUNK)
        parts.append((predict(*found[-1].circuits, u) - target) ** 2)
    squares = np.concatenate(parts)
    for t, s in enumerate(squares.T):
        rows.append({"what": "risk", "step": steps, "task": t, "risk": float(s.mean()),
                     "error": float(s.std() / len(s) ** 0.5)})  # fmt: skip
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
