"""One sample, a trainable prompt: which token wins from which start."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, number, statement, sweep
from dsf.solvers import prompt_svm
from dsf.solvers.dynamics.descent import descend
from dsf.tools.style import BLUE, GREY, TEXT, VERMILLION

TITLE = "From some starts the prompt goes to a locally optimal token"
PAPER = (
    "Keys (-0.1, 1), (1, 0), (0, 0) with scores 1, 0.9, 0.9 (global case) or 1, 0.9, 0 (local "
    "case), p(0) = (0, c), c in {1, 0.5, 0, -0.5, -1, -1.5}, 1000 normalised steps of 0.1: in the "
    "global case every path goes to the solution of token 0, in the local case some go to token 1. "
    "|p|^2/2 of the two solutions: 0.49505 and 0.50000 (Tarzanagh et al. 2023, Max-Margin Token "
    "Selection)."
)
DIFFERS = "Nothing but the arithmetic: the gradient is computed without cancellation."
SEE = (
    "On the left all paths turn up to the ray of token 0, wherever they start; in the middle the "
    "two red ones, which start lowest, follow the ray of token 1 instead. On the right the angle "
    "of each path to its ray falls, in the end like one over the steps."
)
ORDER = 7
THEOREMS = ("svm/local_convergence", "svm/prompt_equivalence")
CASES = {"global": (1.0, 0.9, 0.9), "local": (1.0, 0.9, 0.0)}
STARTS = [1.0, 0.5, 0.0, -0.5, -1.0, -1.5]
PARAMETERS = {"smoke": {"steps": 1000}, "default": {"steps": 1000}, "paper": {"steps": 1000}}
KEYS = np.array([[[-0.1, 1.0], [1.0, 0.0], [0.0, 0.0]]])
PUBLISHED = {0: 0.49505, 1: 0.5}
HALF_A_UNIT = 1e-5  # relative: half a unit of the last published digit
NEAR = 2.0  # degrees: the angle to the solution falls like 1/steps, to about 1 after 1000


def one(case: str, c: float, steps: int) -> list[dict[str, Any]]:
    """The path of p, the token it selects, and the angle to the solution of that token."""
    record = [*range(0, min(100, steps) + 1), *range(0, steps, 20), steps]
    record = sorted(set(record))
    start = np.array([[[0.0], [c]]])
    scores = np.array([[CASES[case]]])
    p = descend(start, KEYS[None], np.ones((1, 1, 1)), scores, record=record)[0, :, :, 0]
    token = int((KEYS[0] @ p[-1]).argmax())
    target = prompt_svm(KEYS, [token])
    w = target.W[:, 0]
    off = float(np.degrees(np.arccos(min(1.0, p[-1] @ w / np.linalg.norm(p[-1]) / target.value))))
    same = {"token": token, "degrees": off, "half square": target.value**2 / 2}
    return [{"step": s, "x": x, "y": y, **same} for s, (x, y) in zip(record, p, strict=True)]


def compute(profile: str) -> Table:
    rest = PARAMETERS[profile]
    return sweep(one, [{"case": k, "c": c, **rest} for k in CASES for c in STARTS])


def findings(table: Table) -> list[Finding]:
    last = table.where(step=max(table.column("step")))
    half = {r["token"]: r["half square"] for r in last}
    tokens = {k: last.where(case=k).column("token") for k in CASES}
    ends = {
        k: f"tokens {', '.join(map(str, tokens[k]))} for c = "
        f"{', '.join(f'{c:g}' for c in STARTS)}, at most "
        f"{max(last.where(case=k).column('degrees')):.2f} degrees from their solution after "
        f"{last[0]['step']} steps"
        for k in CASES
    }
    near = max(last.column("degrees")) < NEAR
    return [
        number(
            "|p|^2/2 of the solutions of token 0 and token 1: 0.49505 and 0.50000",
            ", ".join(f"{v:.5f} (token {t})" for t, v in sorted(half.items())),
            known=list(PUBLISHED.values()), found=[half.get(t, np.nan) for t in PUBLISHED],
            within=HALF_A_UNIT,
        ),
        statement(
            "In the global case every path goes to the solution of token 0",
            ends["global"],
            set(tokens["global"]) == {0} and near,
        ),
        statement(
            "In the local case some paths go to the solution of token 1",
            ends["local"],
            set(tokens["local"]) == {0, 1} and near,
        ),
    ]  # fmt: skip


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(TEXT, 2.7), width_ratios=[1, 1, 1.1])
    rays = {0: np.array([-0.0990099, 0.990099]), 1: np.array([1.0, 0.0])}
    turn = panels[2]
    for axes, case, line in zip(panels[:2], CASES, ("-", "--"), strict=True):
        for ray in rays.values():
            axes.plot(*np.array([0 * ray, 20 * ray]).T, color=GREY, linewidth=0.8, linestyle="--")
        for c in STARTS:
            rows = table.where(case=case, c=c)
            token = rows[0]["token"]
            hue = BLUE if token == 0 else VERMILLION
            axes.plot(rows.column("x"), rows.column("y"), color=hue)
            axes.plot([0], [c], color=hue, marker="o")
            off = [(r["step"], complex(r["x"], r["y"]) / complex(*rays[token])) for r in rows[1:]]
            turn.plot(*zip(*((k, abs(np.degrees(np.angle(w)))) for k, w in off), strict=True),
                      color=hue, linestyle=line, linewidth=0.9)  # fmt: skip
        axes.scatter(KEYS[0, :, 0], KEYS[0, :, 1], marker="*", color="black", zorder=4, s=25)
        for t, (x, y) in enumerate(KEYS[0]):
            place = (4, -10) if t == 2 else (4, 4)
            axes.annotate(f"token {t}", (x, y), xytext=place, textcoords="offset points")
        axes.set(xlim=(-2, 4), ylim=(-2, 4), xlabel="$p_1$", title=f"{case} case", aspect="equal")
    panels[0].set_ylabel("$p_2$")
    turn.set(xscale="log", yscale="log", ylim=(0.1, 200), xlabel="step")
    turn.set(ylabel="degrees to its ray", title="global solid, local dashed")
    handles = [
        plt.Line2D([], [], color=BLUE, label="path to token 0"),
        plt.Line2D([], [], color=VERMILLION, label="path to token 1"),
        plt.Line2D([], [], color=GREY, linestyle="--", label="max-margin rays"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
