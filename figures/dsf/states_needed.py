"""How many states a recurrence needs to do what a softmax attention matrix does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import dsf
from dsf.figures import Finding, Table, derived, sweep
from dsf.tools.style import BLUE, GREEN, GREY, TEXT, VERMILLION

TITLE = (
    "For a given error softmax attention needs fewer states than Taylor features, far fewer soon"
)
SEE = (
    "Above, the number of states grows with the key dimension, with the accuracy and with the "
    "logits, and stops near 48, half the number of tokens, which is enough for any causal matrix. "
    "Below, the Taylor features that certify the same error grow without a bound, beyond 10³⁰."
)
PAPER = (
    "Softmax attention has the recurrent form only with infinitely many features, so its exact "
    "state is infinite (Sieber et al. 2024). How many states a given error needs is not in the "
    "paper; the expected numbers are those of an earlier, independent computation."
)
DIFFERS = (
    "That the state is infinite is a statement about all lengths and inputs. For one sequence of "
    "length L = 96 every causal matrix needs at most 48 states. Here the error is that of the map "
    "from values to outputs in the operator 2-norm, queries and keys are Gaussian, the logits are "
    "s q·k / √m: s is an inverse temperature. The lower bound holds for any linear recurrence; the "
    "upper bound is a system that was constructed and verified, with coefficients that may depend "
    "on the whole sequence. Taylor features: the smallest degree whose remainder bound certifies "
    "the same error."
)
ORDER = 2
THEOREMS = ("dsf/minimal_realization", "dsf/softmax_states_table", "dsf/taylor_kernel")
SEED = 7
PARAMETERS = {
    "smoke": {"dims": [1, 4], "scales": [1]},
    "default": {"dims": [1, 2, 4, 16, 64], "scales": [1, 4]},
    "paper": {"dims": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64], "scales": [1, 2, 4]},
}
LENGTH = 96
ERRORS = (0.1, 0.01, 0.001)
LOOKS = ((VERMILLION, "o"), (BLUE, "s"), (GREEN, "^"))  # of the three errors
# (m, s): lower, upper, lower(error / 7) for the errors 0.1, 0.01, 0.001
EXPECTED = {
    (1, 1): (4, 4, 5, 5, 5, 6, 6, 6, 7),
    (1, 4): (5, 5, 7, 7, 8, 9, 9, 10, 11),
    (2, 1): (7, 7, 11, 11, 12, 16, 16, 16, 20),
    (2, 4): (10, 10, 16, 18, 18, 24, 25, 25, 31),
    (4, 1): (9, 10, 20, 22, 23, 34, 35, 36, 42),
    (4, 4): (19, 19, 29, 31, 32, 39, 41, 41, 44),
    (16, 1): (16, 19, 40, 42, 43, 47, 47, 47, 48),
    (16, 4): (34, 34, 42, 43, 43, 46, 46, 46, 47),
    (64, 1): (18, 22, 42, 44, 45, 47, 47, 47, 48),
    (64, 4): (31, 31, 41, 42, 42, 46, 46, 46, 47),
}
EXPECTED_TAYLOR = {1: 23, 2: 190, 4: 7315, 16: 1_166_803_110}  # by m, for s = 1 and error 0.01


def attention(dim: int, scale: float, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The softmax matrix M [L L] of Gaussian q, k [L m] (q drawn first), and its causal logits."""
    rng = np.random.default_rng(seed)
    q, k = rng.standard_normal((2, length, dim))
    tok = dsf.Tokens(q=scale * q, k=k, v=k)
    M, _ = dsf.softmax.without_parameters().weights(tok, length)
    return M, (scale * q @ k.T / math.sqrt(dim))[np.tril_indices(length)]


def taylor_degree(logits: np.ndarray, norm: float, error: float) -> int:
    """The smallest p with 2 delta / (1 - delta) |M|_2 <= error, delta = max |T_p(x) - e^x| / e^x.

    A relative error delta of every exponential is one of at most 2 delta / (1 - delta) of every
    normalised weight.  The remainder grows with |x| on each side of 0, so two logits suffice.
    """
    top, bottom = max(float(logits.max()), 0.0), max(float(-logits.min()), 0.0)
    for p in range(1000):
        delta = max(_remainder(p, top), math.exp(bottom) * _remainder(p, bottom, negative=True))
        if delta < 1 and 2 * delta / (1 - delta) * norm <= error:
            return p
    raise ArithmeticError("no degree below 1000 suffices")


def _remainder(p: int, y: float, negative: bool = False) -> float:
    """|T_p(x) - e^x| / e^x for x = y >= 0; |T_p(x) - e^x| for x = -y < 0.

    e^{-y} sum_{r>p} y^r / r! is the incomplete gamma function P(p+1, y);
    |T_p(-y) - e^{-y}| = e^{-y} / p! int_0^y t^p e^t dt.  No cancellation in either.
    """
    from scipy.special import gammainc, gammaln, hyp1f1

    if y == 0:
        return 0.0
    if not negative:
        return float(gammainc(p + 1, y))
    scale = math.exp((p + 1) * math.log(y) - gammaln(p + 2) - y)
    return float(scale * hyp1f1(p + 1, p + 2, y))


def one(dim: int, scale: float, error: float, length: int, seed: int) -> dict[str, Any]:
    M, logits = attention(dim, scale, length, seed)
    norm = float(np.linalg.norm(M, 2))
    found = dsf.realize(M, atol=error, time_limit=120.0)
    degree = taylor_degree(logits, norm, error)
    dyadic = next(t.states for t in found.theorems if "dyadic" in t.name)
    row: dict[str, Any] = {
        "norm": norm,
        "lower": int(found.lower),
        "upper": int(found.upper),
        "dyadic": dyadic,
        "proved_error": found.error,
        "degree": degree,
        "taylor": float(math.comb(dim + degree, degree)),
    }
    expected = EXPECTED.get((dim, int(scale)))
    if expected is not None:
        at = 3 * ERRORS.index(error)
        names = ("expected_lower", "expected_upper", "expected_dyadic")
        row |= dict(zip(names, expected[at : at + 3], strict=True))
    if scale == 1 and error == 0.01 and dim in EXPECTED_TAYLOR:
        row["expected_taylor"] = float(EXPECTED_TAYLOR[dim])
    return row


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(
        one,
        [
            {"dim": m, "scale": s, "error": e, "length": LENGTH, "seed": SEED}
            for s in p["scales"]
            for m in p["dims"]
            for e in ERRORS
        ],
    )


def findings(table: Table) -> list[Finding]:
    known = [r for r in table if r["expected_lower"] is not None]
    lower = sum(r["lower"] == r["expected_lower"] for r in known)
    upper = sum(r["upper"] == r["expected_upper"] for r in known)
    better = sum(r["upper"] < r["expected_upper"] for r in known)
    dyadic = sum(r["dyadic"] == r["expected_dyadic"] for r in known)
    taylor = [r for r in table if r["expected_taylor"] is not None]
    features = sum(r["taylor"] == r["expected_taylor"] for r in taylor)
    gap = max(r["upper"] - r["lower"] for r in table)
    most, half = max(r["upper"] for r in table), table[0]["length"] // 2
    ratio = min(r["taylor"] / r["upper"] for r in table)
    return [
        derived(
            "The exact state is infinite; no number for one sequence and one error",
            f"at most {most} states for {2 * half} tokens, {half} would do for any causal matrix; "
            f"lower and upper bound differ by {gap} at most",
            most <= half and all(r["lower"] <= r["upper"] for r in table),
        ),
        derived(
            "No count of Taylor features",
            f"they are at least {ratio:.1f} times the states, and up to "
            f"{max(r['taylor'] for r in table):.1e}",
            ratio > 1,
        ),
        derived(
            "The expected counts are those of an earlier computation of ours",
            f"of {len(known)} cells (m, s, error) {lower} have the expected lower bound, {upper} "
            f"the expected upper bound ({better} a smaller one), {dyadic} the expected theorem "
            f"bound, and {features} of {len(taylor)} Taylor counts agree",
            lower == dyadic == len(known) == upper + better and features == len(taylor),
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    scales = table.values("scale")
    figure, grid = plt.subplots(
        2, len(scales), figsize=(TEXT, 4.2), sharex=True, sharey="row", squeeze=False
    )
    exact = table[0]["length"] // 2
    for column, scale in enumerate(scales):
        top, bottom = grid[:, column]
        for error, (color, marker) in zip(ERRORS, LOOKS, strict=True):
            _draw_error(top, bottom, table.where(scale=scale, error=error), color, marker)
        for axes in (top, bottom):
            axes.axhline(exact, color=GREY, linewidth=0.8, linestyle="--")
        top.set(ylim=(0, exact * 1.15))
        top.set_yticks(range(0, exact + 1, exact // 4))
        temperature = "1" if scale == 1 else f"1/{scale:g}"
        top.set_title(f"logit scale $s = {scale:g}$ (temperature {temperature})")
        bottom.set(yscale="log", ylim=(1, 10 * max(table.column("taylor"))))
        bottom.set_xlabel("key dimension $m$")
        bottom.set_xscale("log", base=2)
        bottom.xaxis.set_major_formatter("{x:g}")
        bottom.minorticks_off()
        bottom.set_xticks([m for m in table.values("dim") if m & (m - 1) == 0])
    grid[0, 0].set_ylabel("states")
    grid[1, 0].set_ylabel("states or features")
    grid[0, 0].annotate(
        f"{exact}: enough for any causal matrix", (1, exact), xytext=(0, 2),
        textcoords="offset points", fontsize=6.5, color=GREY,
    )  # fmt: skip
    figure.legend(handles=_handles(), loc="outside lower center", ncols=3)
    return figure


def _draw_error(top: Any, bottom: Any, rows: Table, color: str, marker: str) -> None:
    """Bounds, Taylor features and expected counts of one error, over the key dimension."""
    m = rows.column("dim")
    for axes in (top, bottom):
        low, high = rows.column("lower"), rows.column("upper")
        axes.fill_between(m, low, high, color=color, alpha=0.35, linewidth=0)
        axes.plot(m, low, color=color, marker=marker, linewidth=1)
    taylor = rows.column("taylor")
    bottom.plot(m, taylor, color=color, marker=marker, linestyle=":", markerfacecolor="w")
    known = [r for r in rows if r["expected_upper"]]
    marks = [r["dim"] for r in known], [r["expected_upper"] for r in known]
    top.plot(*marks, "_", color="black", markersize=7)


def _handles() -> list[Any]:
    """The entries of the legend: errors, then what the lines mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    errors = [
        Line2D([], [], color=c, marker=k, linewidth=1, label=f"error {e:g}")
        for e, (c, k) in zip(ERRORS, LOOKS, strict=True)
    ]
    return [
        *errors,
        Patch(color=GREY, alpha=0.35, label="lower to upper bound"),
        Line2D([], [], color="black", marker="_", linestyle="none",
               label="upper bound computed earlier"),
        Line2D(
            [], [], color=GREY, marker="o", linestyle=":", markerfacecolor="w",
            label="Taylor features",
        ),
    ]  # fmt: skip
