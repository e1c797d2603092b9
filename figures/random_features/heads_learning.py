"""What attention heads with frozen random queries and keys learn, beside a random MLP."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.figures.dsf._common import plain_log
from dsf.solvers import RandomFeatureHeads, RandomFeatureMLP, fitted_rate, ridge_path
from dsf.solvers.random_features.targets import TARGETS, relative, unit_tokens
from dsf.tools.style import BLUE, GREY, TEXT, VERMILLION

TITLE = "Heads with frozen weights need fewer samples than a random MLP; a bias helps one target"
SEE = (
    "The blue line, unbiased heads, falls below the grey one, the random MLP, wherever anything "
    "is learned. The red line, biased heads, starts lowest on the last target only, and ends "
    "above the blue one there too."
)
PAPER = (
    "One attention layer with frozen random query-key matrices and trained values needs fewer "
    "samples than a two-layer random-feature network, and query-key weights of non-zero mean beat "
    "those of zero mean for some natural targets (Fu et al. 2023, arXiv 2307.11353). The grids and "
    "numbers of its experiments are not known to us."
)
DIFFERS = (
    "In the style of the paper: d = N = 8, M up to 300 heads, n up to 1600, five seeds. The "
    "penalty is the best of 1e-10 .. 1e1 on 500 held-out samples. The MLP has as many trained "
    "numbers as the heads, M(d+1). The bias is 4 W_0, which adds 4<x_0, x_i> to the logits. "
    "Errors are on 2000 new samples, over the variance of the target, which is not centred; bands "
    "run from the least to the largest over seeds."
)
ORDER = 3
THEOREMS = (
    "random_features/reference_table",
    "random_features/heads_kernel",
    "random_features/approximation_rate",
)
SEED = 0
D = KEYS = 8
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"heads": [10, 30], "samples": [100, 400], "seeds": 2},
    "default": {"heads": [10, 30, 100, 300], "samples": [100, 400, 1600], "seeds": 5},
    "paper": {"heads": [10, 30, 100, 300], "samples": [100, 400, 1600, 6400], "seeds": 10},
}
HELD, NEW, BIAS = 500, 2000, 4.0
PENALTIES = 10.0 ** np.arange(-10, 2)
HUES = {"heads": BLUE, "biased": VERMILLION, "mlp": GREY}
LEARNED = 0.9  # below this relative error something is learned


def one(heads: int, samples: int, seed: int) -> list[dict[str, Any]]:
    """The errors of the three models on the four targets."""
    rng = np.random.default_rng(int(seed))
    X = unit_tokens(rng, samples + HELD + NEW, KEYS, D)
    beta = rng.standard_normal(D)
    beta /= np.linalg.norm(beta)
    y = np.array([relative(f(X, beta)) for f in TARGETS.values()]).T
    models = {
        "heads": RandomFeatureHeads.draw(heads, D, seed),
        "biased": RandomFeatureHeads.draw(heads, D, seed, BIAS),
        "mlp": RandomFeatureMLP.draw(heads * (D + 1), D, KEYS, seed),
    }
    rows = []
    held, new = slice(samples, samples + HELD), slice(samples + HELD, None)
    for name, model in models.items():
        Phi = model.features(X)
        theta = ridge_path(Phi[:samples], y[:samples], PENALTIES)
        off = np.mean((Phi[held] @ theta - y[held]) ** 2, axis=1)
        errors = np.mean((Phi[new] @ theta - y[new]) ** 2, axis=1)
        for i, target in enumerate(TARGETS):
            chosen = int(np.argmin(off[:, i]))
            rows.append({
                "target": target, "model": name, "penalty": PENALTIES[chosen],
                "error": errors[chosen, i],
            })  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(one, [
        {"heads": M, "samples": n, "seed": SEED + s}
        for s in range(p["seeds"])
        for M in p["heads"]
        for n in p["samples"]
    ])  # fmt: skip


def cell(table: Table, **where: Any) -> np.ndarray:
    """The errors of all seeds."""
    return np.array(table.where(**where).column("error"))


def findings(table: Table) -> list[Finding]:
    heads, samples = table.values("heads"), table.values("samples")
    ahead, helped, hurt = True, [], []
    for target in TARGETS:
        for n in samples:
            found = {m: cell(table, target=target, model=m, samples=n, heads=heads[-1])
                     for m in HUES}  # fmt: skip
            mean = {m: e.mean() for m, e in found.items()}
            if min(mean["heads"], mean["mlp"]) < LEARNED:
                ahead = ahead and mean["heads"] < mean["mlp"]
            if found["biased"].max() < found["heads"].min():
                helped.append(f"{target} at n = {n}: {mean['biased']:.2f} for {mean['heads']:.2f}")
            if found["biased"].min() > found["heads"].max():
                hurt.append(f"{target} at n = {n}")
    last = ", ".join(
        f"{cell(table, target=t, model='heads', samples=samples[-1], heads=heads[-1]).mean():.2f} "
        f"for {cell(table, target=t, model='mlp', samples=samples[-1], heads=heads[-1]).mean():.2f}"
        f" ({t})"
        for t in TARGETS
    )
    seeds = table.values("seed")
    slopes = []
    for t in TARGETS:
        in_n, in_M = (
            fitted_rate(axis, [
                [cell(table, target=t, model="heads", seed=s, **{name: v, other: at})[0]
                 for v in axis]
                for s in seeds
            ])
            for axis, name, other, at in (
                (samples, "samples", "heads", heads[-1]), (heads, "heads", "samples", samples[-1])
            )
        )  # fmt: skip
        slopes.append(
            f"{in_n.slope:.2f} [{in_n.low:.2f}, {in_n.high:.2f}] and {in_M.slope:.2f} "
            f"[{in_M.low:.2f}, {in_M.high:.2f}] ({t})"
        )
    return [
        statement(
            "Heads need fewer samples than a random-feature network",
            f"relative error at n = {samples[-1]}, M = {heads[-1]}, heads for MLP: {last}",
            ahead,
        ),
        statement(
            "Weights of non-zero mean are better for some targets",
            "for every seed on " + "; ".join(helped) if helped else "for no target in every seed",
            bool(helped),
        ),
        derived(
            "Nothing on targets that the bias harms",
            f"biased heads are worse in every seed on {'; '.join(hurt) or 'none'}",
            True,
        ),
        derived(
            "Rates, as recalled, are upper bounds: n^{-1/2} and M^{-1/2} of the excess risk",
            f"fitted exponents in n (M = {heads[-1]}) and in M (n = {samples[-1]}) of unbiased "
            f"heads, with 95 % bootstrap intervals over seeds: {'; '.join(slopes)}",
            True,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    heads, samples = table.values("heads"), table.values("samples")
    figure, grid = plt.subplots(2, 4, figsize=(TEXT, 3.6), sharey=True, sharex="row")
    lines = ((grid[0], samples, "samples", {"heads": heads[-1]}),
             (grid[1], heads, "heads", {"samples": samples[-1]}))  # fmt: skip
    for row, axis, name, fixed in lines:
        for axes, (target, f) in zip(row, TARGETS.items(), strict=True):
            for model, hue in HUES.items():
                found = np.array([
                    cell(table, target=target, model=model, **{name: v}, **fixed) for v in axis
                ])  # fmt: skip
                axes.fill_between(axis, found.min(1), found.max(1), color=hue, alpha=0.25, lw=0)
                label = {"heads": "heads", "biased": "heads with bias 4", "mlp": "random MLP"}
                axes.plot(axis, found.mean(1), color=hue, marker="o", label=label[model])
            axes.set(xscale="log", yscale="log")
            plain_log(axes.yaxis)
            axes.set_xticks(axis, [str(v) for v in axis])
            axes.minorticks_off()
            if name == "samples":
                axes.set_title(f.formula, fontsize="small")
    for axes in grid[0]:
        axes.set_xlabel(f"samples $n$ (M = {heads[-1]})")
    for axes in grid[1]:
        axes.set_xlabel(f"heads $M$ (n = {samples[-1]})")
    for axes in grid[:, 0]:
        axes.set_ylabel("relative error")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
