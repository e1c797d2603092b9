"""Two heads trained on correlated covariates: KQ against the best preconditioner."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.solvers import icl_optimal
from dsf.solvers.icl.estimators import examples_and_query, measured
from dsf.solvers.icl.prompts import Prompts, decaying
from dsf.solvers.icl.training import batches, predict, train
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "On correlated covariates two heads learn the best preconditioner, not the identity"
PAPER = (
    "With covariates of covariance rho to the power |i-j| (rho = 0.5) trained heads learn "
    "preconditioned gradient descent: KQ becomes proportional to a preconditioner "
    "(He et al. 2025, arXiv 2503.12734; settings and numbers of the figure are not known)."
)
DIFFERS = (
    "The preconditioner it is compared with is ours: the best one on centred covariates at this "
    "length, in closed form. Training as in the figure of emergence, of two heads, at several rho."
)
SEE = (
    "Left: KQ of the positive head and the best preconditioner G*, both over their norms, agree "
    "entry by entry. Right: the layer's effective matrix, the sum of mu KQ over heads, against G* "
    "for every rho; on the dashed line they are equal."
)
ORDER = 4
THEOREMS = ("icl/preconditioned_risks",)
D, LENGTH, NOISE = 5, 40, 0.1
SEED, BATCH = 1029, 256
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"rho": [0.5], "steps": 100, "every": 50, "tests": 2000},
    "default": {"rho": [0.0, 0.5], "steps": 8000, "every": 500, "tests": 20_000},
    "paper": {"rho": [0.0, 0.3, 0.5, 0.7], "steps": 30_000, "every": 1000, "tests": 100_000},
}
HEADS = 2
TESTS = 1  # the seed of the prompts that measure the risk
SETTLED = 5000  # steps from which on the heads are judged
ALIKE = 0.99  # cosine between two matrices
NEAR = 0.03  # of a risk: training noise, at a rate that does not fall


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


def best(rho: float) -> Any:
    """The best preconditioner on centred covariates, and its risk."""
    covariance = decaying(D, rho)
    return icl_optimal("preconditioned_debiased_gd", D, LENGTH, NOISE, covariance=covariance)


def heads(table: Table, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """KQ [H D D] on the covariates, transposed as a matrix step is, and mu [H]."""
    rows = table.where(rho=rho)
    KQ = np.array(rows.where(what="KQ").column("value")).reshape(HEADS, D + 1, D + 1)
    OV = np.array(rows.where(what="OV").column("value")).reshape(HEADS, D + 1)
    return np.swapaxes(KQ[:, :D, :D], -1, -2), OV[:, -1]


def cosine(A: np.ndarray, B: np.ndarray) -> float:
    """tr(A'B) over the norms."""
    return float(np.sum(A * B) / (np.linalg.norm(A) * np.linalg.norm(B)))


def findings(table: Table) -> list[Finding]:
    rhos = table.values("rho")
    steps = max(table.where(what="loss").values("step"))
    words = "KQ is proportional to a preconditioner, no longer to the identity"
    correlated = [r for r in rhos if r > 0]
    alike, plain, told = [], [], []
    for rho in correlated:
        KQ, _ = heads(table, rho)
        G = best(rho).G
        alike.append(min(abs(cosine(M, G)) for M in KQ))
        plain.append(abs(cosine(G, np.eye(D))))
        told.append(f"{alike[-1]:.4f} with G*, {abs(cosine(KQ[0], np.eye(D))):.3f} with I "
                    f"(rho = {rho:g})")  # fmt: skip
    ours = f"least cosine of a head: {'; '.join(told)}"
    if steps < SETTLED:
        return [unknown(words, f"{ours}; after {steps} steps too early to judge")]
    risk = {r: table.where(rho=r, what="risk")[0] for r in rhos}
    shown = ", ".join(
        f"{risk[r]['risk']:.4f} ({risk[r]['error']:.4f}) against {best(r).value:.4f}" for r in rhos
    )
    errors = []
    for rho in rhos:
        KQ, mu = heads(table, rho)
        errors.append(np.linalg.norm(np.einsum("h,hij->ij", mu, KQ) - best(rho).G)
                      / np.linalg.norm(best(rho).G))  # fmt: skip
    one_step = {
        r: icl_optimal("debiased_gd", D, LENGTH, NOISE, covariance=decaying(D, r)).value
        for r in correlated
    }
    gain = ", ".join(f"{one_step[r]:.3f} (rho = {r:g})" for r in correlated)
    return [
        statement(
            words, ours,
            all(a > ALIKE and a > p for a, p in zip(alike, plain, strict=True)),
        ),
        derived(
            "the size of the preconditioner is not given",
            "sum of mu_h KQ_h is within "
            + ", ".join(f"{100 * e:.1f} %" for e in errors)
            + f" of G* at rho = {', '.join(f'{r:g}' for r in rhos)}",
            bool(max(errors) < 0.15),
        ),
        derived(
            "no risks are given",
            f"{shown} for the best centred preconditioner; the best single step costs {gain}",
            all(
                abs(risk[r]["risk"] - best(r).value) < NEAR * best(r).value + 4 * risk[r]["error"]
                for r in rhos
            ),
        ),
    ]  # fmt: skip


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    rhos = table.values("rho")
    shown = 0.5 if 0.5 in rhos else rhos[-1]
    figure = plt.figure(figsize=(TEXT, 2.5), layout="constrained")
    grid = figure.add_gridspec(1, 3, width_ratios=(4, 4, 5))
    KQ, mu = heads(table, shown)
    G = best(shown).G
    positive = KQ[int(np.argmax(mu))]
    for k, (M, name) in enumerate(((positive, "KQ of the positive head"), (G, "best matrix G*"))):
        axes = figure.add_subplot(grid[0, k])
        M = M / np.linalg.norm(M)
        axes.imshow(M, cmap="RdBu_r", vmin=-0.6, vmax=0.6)
        for i, j in np.ndindex(M.shape):
            axes.text(j, i, f"{M[i, j]:+.2f}", ha="center", va="center", fontsize=5.5,
                      color="white" if abs(M[i, j]) > 0.35 else "black")  # fmt: skip
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.set_title(f"{name}, ρ = {shown:g}")
    right = figure.add_subplot(grid[0, 2])
    hues, marks = (BLACK, BLUE, VERMILLION, GREEN, ORANGE), "os^Dv"
    for rho, hue, mark in zip(rhos, hues, marks, strict=False):
        KQ, mu = heads(table, rho)
        right.plot(best(rho).G.ravel(), np.einsum("h,hij->ij", mu, KQ).ravel(), mark, color=hue,
                   markersize=3.5, mfc="none", label=f"ρ = {rho:g}")  # fmt: skip
    ends = np.array(right.get_xlim())
    right.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
    right.set(xlabel="entries of G*", ylabel="entries of $\\sum_h \\mu_h$ KQ$_h$")
    right.set_title("The layer against the best step")
    right.legend()
    return figure
