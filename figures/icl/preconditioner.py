"""Two heads trained on correlated covariates: KQ against the best preconditioner."""

from __future__ import annotations

from typing import Any

from dsf.figures import Finding, Table, sweep, unknown
from dsf.solvers.icl.estimators import examples_and_query, measured
from dsf.solvers.icl.prompts import Prompts, decaying
from dsf.solvers.icl.training import batches, predict, train

TITLE = "x"
SEE = "x"
PAPER = "x"
DIFFERS = "x"
ORDER = 4
D, LENGTH, NOISE = 5, 40, 0.1
SEED, BATCH = 1029, 256
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"rho": [0.5], "steps": 600, "every": 200, "tests": 2000},
    "default": {"rho": [0.0, 0.5], "steps": 8000, "every": 500, "tests": 20_000},
    "paper": {"rho": [0.0, 0.3, 0.5, 0.7], "steps": 100_000, "every": 1000, "tests": 100_000},
}
HEADS = 2
TESTS = 1  # the seed of the prompts that measure the risk


def one(rho: float, steps: int, every: int, tests: int) -> list[dict[str, Any]]:
    prompts = Prompts(D, LENGTH, NOISE, decaying(D, rho))
    source = batches(prompts, SEED, BATCH)
    found, _ = train(source, HEADS, steps, lambda step: step % every == 0, SEED)
    rows: list[dict[str, Any]] = [
        {"what": "loss", "step": step, "loss": loss} for step, loss, _ in found
    ]
    KQ, OV = found[-1].circuits
    rows += [
        {"what": name, "step": steps, "head": h, "row": i, "column": j, "value": x}
        for name, M in (("KQ", KQ), ("OV", OV))
        for h, part in enumerate(M)
        for i, line in enumerate(part.tolist())
        for j, x in enumerate(line)
    ]
    trained = {"trained": lambda x: predict(KQ, OV, examples_and_query(x))[:, 0]}
    risk, error = measured(trained, prompts, TESTS, tests)["trained"]
    return [*rows, {"what": "risk", "step": steps, "risk": risk, "error": error}]


def compute(profile: str) -> Table:
    p = dict(PARAMETERS[profile])
    return sweep(one, [{"rho": r, **{k: v for k, v in p.items() if k != "rho"}} for r in p["rho"]])


def findings(table: Table) -> list[Finding]:
    return [unknown("x", "y")]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots()[0]
