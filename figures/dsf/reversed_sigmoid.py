"""The gate of S6 is a power of the reversed sigmoid; the normaliser that it matches grows."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.core import ops
from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.figures.dsf._common import plain_log
from dsf.tools.style import BLUE, GREEN, GREY, TEXT, VERMILLION

TITLE = "The gate of S6 is a power of the reversed sigmoid; it matches one kind of normaliser only"
PAPER = (
    "With Δ = softplus(x) and a = −α the transition of S6 is a power of the reversed sigmoid, "
    "exp(aΔ) = σ(−x)^α; S6 and attention coincide under conditions on the normaliser (Sieber et "
    "al. 2024). No number is given."
)
DIFFERS = (
    "The conditions are made exact: S6 with a shared scalar Δ equals normalised attention with the "
    "same q, k, v if and only if Δᵢ = 1/ηᵢ and ηᵢ = ηᵢ₋₁ exp(α/ηᵢ). From this follows ηᵢ/i → α. "
    "The expected value 0.69997 is for α = 0.7, η₀ = 1, i = 100 000."
)
SEE = (
    "On the left the marks of σ(−x)^α lie on the lines of the gate of S6 for every α. On the right "
    "the one normaliser that S6 can match, over the number of tokens, tends to α."
)
ORDER = 6
THEOREMS = ("dsf/reversed_sigmoid", "dsf/s6_normaliser")
SEED = 0
PARAMETERS = {
    "smoke": {"alphas": [0.7], "steps": 1000, "length": 12},
    "default": {"alphas": [0.25, 0.7, 2.0], "steps": 100_000, "length": 64},
    "paper": {"alphas": [0.25, 0.7, 2.0], "steps": 1_000_000, "length": 256},
}
EXPECTED = {(0.7, 100_000): 0.69997}  # eta_i / i after i steps
TENDS = 0.01  # relative, of eta_i / i from alpha at the end: the error falls like log i / i
BROKEN = 1e-5  # relative difference of kernels that is none of rounding
ROUNDING = 1e-13  # relative; of two formulas for one number
HALF_A_UNIT = 5e-6  # of the last digit that EXPECTED gives


def normaliser(alpha: float, steps: int, eta: float = 1.0) -> np.ndarray:
    """eta_0 .. eta_steps with eta_i = eta_{i-1} e^{alpha / eta_i}.

    The equation is implicit.  With x = alpha / eta_i it reads x e^x = alpha / eta_{i-1}, so
    x = W(alpha / eta_{i-1}), W the Lambert function; it grows in every step.
    """
    from scipy.special import lambertw

    out = np.empty(steps + 1)
    out[0] = eta
    for i in range(1, steps + 1):
        out[i] = alpha / lambertw(alpha / out[i - 1]).real
    return out


def identity(alpha: float) -> list[dict[str, Any]]:
    """e^{-alpha softplus(x)} and sigma(-x)^alpha on a grid of x."""
    x = np.linspace(-8.0, 8.0, 65)
    gate, power = np.exp(-alpha * ops.softplus(x)), ops.sigmoid(-x) ** alpha
    return [
        {"part": "gate", "x": a, "value": b, "other": c}
        for a, b, c in zip(x, gate, power, strict=True)
    ]


def growth(alpha: float, steps: int) -> list[dict[str, Any]]:
    """eta_i / i at logarithmically spaced i."""
    eta = normaliser(alpha, steps)
    picked = np.unique(np.rint(np.geomspace(1, steps, 61)).astype(int))
    return [{"part": "normaliser", "x": i, "value": eta[i] / i} for i in picked]


def kernels(alpha: float, length: int, seed: int) -> dict[str, Any]:
    """S6 with Delta = 1 / eta beside normalised attention, the same q, k, v.

    Beside it, how far apart they are when eta is perturbed at one token only.
    """
    rng = np.random.default_rng(seed)
    q, k = rng.standard_normal((2, length, 4))
    v = rng.standard_normal((1, length, 1))
    eta = normaliser(alpha, length - 1)[:, None]

    def gap(eta: np.ndarray) -> float:
        one = dsf.Tokens(q=q, k=k, v=v[0], eta=eta)
        attention = dsf.normalised_attn.without_parameters().system(one)[0].kernel()
        two = dsf.Tokens(q=q[None], k=k[None], v=v, dt=1 / eta[None], a=np.full((1, 1, 1), -alpha))
        s6 = dsf.mamba.without_parameters().system(two)[0].kernel()[0]
        return float(np.abs(attention - s6).max() / np.abs(attention).max())

    other = eta.copy()
    other[length // 2] *= 1.01
    return {"part": "kernel difference", "x": length, "value": gap(eta), "other": gap(other)}


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    alphas: list[float] = p["alphas"]  # type: ignore[assignment]
    rows = sweep(identity, [{"alpha": a} for a in alphas])
    rows += sweep(growth, [{"alpha": a, "steps": p["steps"]} for a in alphas])
    rows += sweep(kernels, [{"alpha": a, "length": p["length"], "seed": SEED} for a in alphas])
    return Table(rows)


def findings(table: Table) -> list[Finding]:
    gate = table.where(part="gate")
    pairs = zip(gate.column("value"), gate.column("other"), strict=True)
    identity_error = max(abs(a - b) / b for a, b in pairs)
    last = [table.where(part="normaliser", alpha=a)[-1] for a in table.values("alpha")]
    checks = table.where(part="kernel difference")
    error, perturbed = max(checks.column("value")), min(checks.column("other"))
    ratios, right = [], True
    for row in last:
        ratios.append(f"{row['value']:.5f} for α = {row['alpha']:g}")
        right = right and abs(row["value"] / row["alpha"] - 1) < TENDS
        value = EXPECTED.get((row["alpha"], row["x"]))
        if value is not None:
            right = right and abs(row["value"] - value) < HALF_A_UNIT
            ratios[-1] += f" (expected {value})"
    return [
        statement(
            "The transition of S6 is a power of the reversed sigmoid, exp(aΔ) = σ(−x)^α",
            f"the two differ by {identity_error:.0e} of their size at most",
            identity_error < ROUNDING,
        ),
        statement(
            "S6 and attention coincide under conditions on the normaliser",
            f"kernels differ by {error:.0e} where Δᵢ = 1/ηᵢ and ηᵢ = ηᵢ₋₁ exp(α/ηᵢ), and by at "
            f"least {perturbed:.0e} once η is changed by 1 % at one token",
            error < ROUNDING and perturbed > BROKEN,
        ),
        derived(
            "That this normaliser grows like α i is ours",
            f"ηᵢ/i at i = {last[0]['x']:,} is {', '.join(ratios)}",
            right,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.7))
    looks = zip(table.values("alpha"), (BLUE, VERMILLION, GREEN), ("o", "s", "^"), strict=False)
    for alpha, color, marker in looks:
        rows = table.where(part="gate", alpha=alpha)
        x = rows.column("x")
        left.plot(x, rows.column("value"), color=color)
        left.plot(x[::4], rows.column("other")[::4], color=color, marker=marker, linestyle="none")
        rows = table.where(part="normaliser", alpha=alpha)
        right.axhline(alpha, color=GREY, linewidth=0.8, linestyle="--")
        right.plot(
            rows.column("x"), rows.column("value"), color=color, marker=marker, markevery=6,
            label=f"$\\alpha = {alpha:g}$",
        )  # fmt: skip
    left.set(xlabel="$x$", ylabel="forget gate", ylim=(-0.03, 1.03))
    left.set_title(r"$e^{-\alpha\,\mathrm{softplus}(x)}$ (lines) is $\sigma(-x)^\alpha$ (markers)")
    right.set(xscale="log", yscale="log", xlabel="token $i$", ylabel=r"$\eta_i\,/\,i$")
    right.set_title(r"$\eta_i = \eta_{i-1} e^{\alpha/\eta_i}$ grows as $\alpha\, i$ (dashed)")
    plain_log(right.yaxis)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
