"""One operator in three choices of state coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.core.system import LTV
from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.figures.dsf._common import plain_log
from dsf.tools.style import BLUE, GREEN, TEXT, VERMILLION

TITLE = "Eigenvalues depend on the state coordinates, Hankel singular values do not"
PAPER = (
    "Attention with a normaliser η has the recurrent form with the transition "
    "Λᵢ = (ηᵢ₋₁ / ηᵢ) I: the normaliser is put into Λ (Sieber et al. 2024). A later paper of the "
    "group reads the memory of trained layers from the size of these eigenvalues (Rickenbach et "
    "al. 2025, arXiv 2510.09379). No number is given."
)
DIFFERS = (
    "The paper uses one choice of state coordinates; here the same operator is written in two "
    "more: the normaliser in C, and arbitrary positive scalars. The input is random, nothing is "
    "trained."
)
SEE = (
    "On the left the eigenvalues of one and the same layer are all 1, spread over a range, or "
    "spread over a wider one, as the state coordinates are chosen. On the right the three sets of "
    "Hankel singular values lie on top of each other."
)
ORDER = 4
THEOREMS = ("dsf/gauge_theorem", "dsf/minimal_realization")
SEED = 0
PARAMETERS = {
    "smoke": {"length": 24, "width": 8, "states": 4},
    "default": {"length": 48, "width": 32, "states": 12},
    "paper": {"length": 512, "width": 64, "states": 32},
}

BINS = 31  # odd, so that 1 lies inside one of them
GAUGES = ("normaliser in C", "normaliser in Λ (paper)", "arbitrary scalars")
APART = 2.0  # largest over smallest eigenvalue of one layer: clearly not one value
ROUNDING = 1e-12  # relative; what agrees up to it is the same


def systems(length: int, width: int, states: int, seed: int) -> dict[str, LTV]:
    """Normalised linear attention (elu + 1) on Gaussian input, one head, in three gauges.

    T_i = 1, T_i = 1 / eta_i (the form of the paper), T_i = exp(g_i) with g_i ~ N(0, 0.4^2).
    """
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((length, width))
    mech = dsf.normalised_linear_attn.init(d=width, n=states, p=1, seed=seed)
    tok = mech.tokens(u)
    plain, X = mech.system(tok)
    eta = mech.normaliser(plain.scan(X)[0], tok)
    frozen, eye = mech.ltv(u), np.eye(states)
    free = np.exp(0.4 * rng.standard_normal((length, 1, 1)))
    three = (frozen, frozen.gauge(eye / eta), frozen.gauge(eye * free))
    return dict(zip(GAUGES, three, strict=True))


def one(gauge: str, length: int, width: int, states: int, seed: int) -> list[dict[str, Any]]:
    every = systems(length, width, states, seed)
    ltv, reference = every[gauge], every[GAUGES[0]].kernel()
    eigenvalues = np.abs(ltv.eigenvalues()).reshape(length, states)
    error = np.abs(ltv.kernel() - reference).max() / np.abs(reference).max()
    sigma = ltv.hankel_singular_values(length // 2)[0]
    rows: list[dict[str, Any]] = [
        {"quantity": "eigenvalue", "index": i, "value": a.max(), "smallest": a.min()}
        for i, a in enumerate(eigenvalues)
        if i > 0  # the state is zero before token 0, so Lambda_0 acts on nothing
    ]
    rows += [
        {"quantity": "hankel singular value", "index": j + 1, "value": s}
        for j, s in enumerate(sigma[:states])
    ]
    return [*rows, {"quantity": "kernel difference", "index": 0, "value": error}]


def compute(profile: str) -> Table:
    point = {**PARAMETERS[profile], "seed": SEED}
    return sweep(one, [{"gauge": g, **point} for g in GAUGES])


def findings(table: Table) -> list[Finding]:
    spans, sigmas = [], []
    for gauge in GAUGES:
        values = table.where(gauge=gauge, quantity="eigenvalue")
        spans.append((min(values.column("smallest")), max(values.column("value"))))
        sigmas.append(table.where(gauge=gauge, quantity="hankel singular value").column("value"))
    kernels = {g: table.where(gauge=g, quantity="kernel difference")[0]["value"] for g in GAUGES}
    spread = max(np.ptp(np.array(sigmas), axis=0)) / max(sigmas[0])
    ranges = ", ".join(
        f"{low:.2g} to {high:.2g} ({gauge})" if high - low > ROUNDING else f"{low:.2g} ({gauge})"
        for gauge, (low, high) in zip(GAUGES, spans, strict=True)
    )
    widths = [high / low for low, high in spans]
    return [
        statement(
            "Attention with a normaliser η has the recurrent form with Λᵢ = (ηᵢ₋₁ / ηᵢ) I",
            f"its kernel is that of the layer, up to {kernels[GAUGES[1]]:.0e}",
            kernels[GAUGES[1]] < ROUNDING,
        ),
        derived(
            "Memory is read from the size of these eigenvalues; no number is given",
            f"the eigenvalues are {ranges}, for kernels that agree up to "
            f"{max(kernels.values()):.0e} and Hankel singular values up to {spread:.0e}: alone "
            "they say nothing about the map",
            max(kernels.values()) < ROUNDING and spread < ROUNDING
            and widths[0] < 1 + ROUNDING and min(widths[1:]) > APART,
        ),
    ]  # fmt: skip


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    looks = (
        {"color": BLUE, "marker": "o", "markersize": 7.0, "markerfacecolor": "none"},
        {"color": VERMILLION, "marker": "s", "markersize": 4.0, "markerfacecolor": "none"},
        {"color": GREEN, "marker": "x", "markersize": 4.0},
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.7))
    length = table[0]["length"]
    values = {g: table.where(gauge=g, quantity="eigenvalue").column("value") for g in GAUGES}
    reach = 1.05 * max(max(np.max(y), 1 / np.min(y)) for y in values.values())
    bins = np.exp(np.linspace(-np.log(reach), np.log(reach), BINS + 1))
    for gauge, look in zip(GAUGES, looks, strict=True):
        weights = np.full(len(values[gauge]), 1 / len(values[gauge]))
        left.hist(values[gauge], bins, weights=weights, color=look["color"], alpha=0.25)
        left.hist(values[gauge], bins, weights=weights, color=look["color"], histtype="step")
        rows = table.where(gauge=gauge, quantity="hankel singular value")
        right.plot(
            rows.column("index"), rows.column("value"), linestyle="none", label=gauge, **look
        )
    left.set(xscale="log", xlabel="eigenvalue of $\\Lambda_i$", ylabel="share of the tokens")
    left.set_title(f"Three sets of eigenvalues ({length} tokens) …")
    plain_log(left.xaxis)
    right.set(yscale="log", xlabel="index $j$", ylabel="Hankel singular value $\\sigma_j$")
    right.set_title(f"… of one operator (cut at token {length // 2})")
    right.xaxis.get_major_locator().set_params(integer=True)
    plain_log(right.yaxis)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
