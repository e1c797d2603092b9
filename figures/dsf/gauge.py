"""One operator in three choices of state coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.core.system import LTV
from dsf.figures import Table, sweep
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
ORDER = 4
SEED = 0
PARAMETERS = {
    "smoke": {"length": 24, "width": 8, "states": 4},
    "default": {"length": 48, "width": 32, "states": 12},
    "paper": {"length": 512, "width": 64, "states": 32},
}

GAUGES = ("normaliser in C", "normaliser in Λ (paper)", "arbitrary scalars")
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


def measured(table: Table) -> tuple[str, str]:
    spans, sigmas = [], []
    for gauge in GAUGES:
        values = table.where(gauge=gauge, quantity="eigenvalue")
        spans.append((min(values.column("smallest")), max(values.column("value"))))
        sigmas.append(table.where(gauge=gauge, quantity="hankel singular value").column("value"))
    error = max(table.where(quantity="kernel difference").column("value"))
    spread = max(np.ptp(np.array(sigmas), axis=0)) / max(sigmas[0])
    ranges = ", ".join(
        f"{low:.2g} to {high:.2g} ({gauge})" if high - low > ROUNDING else f"{low:.2g} ({gauge})"
        for gauge, (low, high) in zip(GAUGES, spans, strict=True)
    )
    same = error < ROUNDING and spread < ROUNDING
    text = (
        f"The three systems have the same kernel (largest relative difference {error:.0e}) and the "
        f"same Hankel singular values ({spread:.0e}). Their eigenvalues are {ranges}. The form of "
        "the paper is exact; its eigenvalues alone say nothing about the map."
    )
    return text, "agrees" if same else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    looks = (
        {"color": BLUE, "marker": "o", "markersize": 7.0, "markerfacecolor": "none"},
        {"color": VERMILLION, "marker": "s", "markersize": 4.0, "markerfacecolor": "none"},
        {"color": GREEN, "marker": "x", "markersize": 4.0},
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.7))
    length = table[0]["length"]
    for gauge, look in zip(GAUGES, looks, strict=True):
        rows = table.where(gauge=gauge, quantity="eigenvalue")
        x, y = rows.column("index"), rows.column("value")
        left.plot(x, y, linewidth=0.9, markevery=max(1, length // 48), label=gauge, **look)
        rows = table.where(gauge=gauge, quantity="hankel singular value")
        right.plot(rows.column("index"), rows.column("value"), linestyle="none", **look)
    left.set(yscale="log", xlabel="token $i$", ylabel="eigenvalue of $\\Lambda_i$")
    left.set_title("Three sets of eigenvalues …")
    right.set(yscale="log", xlabel="index $j$", ylabel="Hankel singular value $\\sigma_j$")
    right.set_title(f"… of one operator (cut at token {length // 2})")
    right.xaxis.get_major_locator().set_params(integer=True)
    for axes in (left, right):
        plain_log(axes.yaxis)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
