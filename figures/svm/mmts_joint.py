"""Head and prompt trained together: the prompt solves the relaxed problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, number, statement, sweep
from dsf.solvers import joint_prompt_svm
from dsf.solvers.dynamics.descent import scaled_gradient
from dsf.solvers.svm.instances import attention, slope
from dsf.tools.style import BLUE, TEXT, VERMILLION

TITLE = "Only support vectors of the head constrain the prompt"
PAPER = (
    "Tokens (0, 0) against (1, 1), (1, -1) and (0.5, 1) (tight) or (0.5, 1.5) (relaxed), labels "
    "1, -1, 1, p(0) = (0, -1), v(0) = (-1, 0), 1000 normalised steps of 0.1: v turns to (0, 1), p "
    "to (4/3, 1/3), |p|^2/2 = 0.94444, in the tight case, and to (1, 0), 0.5, in the relaxed one "
    "(Tarzanagh et al. 2023, Max-Margin Token Selection)."
)
DIFFERS = "v and p are normalised separately and both take steps of 0.1."
SEE = (
    "In the tight case the red path of p runs along a tilted ray, in the relaxed case along the "
    "horizontal one, because one sample is no support vector of v there. On the right the angles "
    "of all four paths to their rays end below one degree."
)
ORDER = 9
THEOREMS = ("svm/joint_path",)
CASES = {"tight": 1.0, "relaxed": 1.5}
PARAMETERS = {"smoke": {"steps": 1000}, "default": {"steps": 1000}, "paper": {"steps": 1000}}
LABELS = np.array([1.0, -1.0, 1.0])
LIMITS = {"tight": {"v": (0.0, 1.0), "p": (4 / 3, 1 / 3)},
          "relaxed": {"v": (0.0, 1.0), "p": (1.0, 0.0)}}  # fmt: skip
NAMES = {4 / 3: "4/3", 1 / 3: "1/3"}
HALF = {"tight": 0.94444, "relaxed": 0.5}  # |p|^2/2, as published
HALF_A_UNIT = 5.3e-6  # relative: half a unit of the last published digit of 0.94444
NEAR = 1.0  # degrees: the angles fall like 1/steps, to about 0.2 after 1000


def tokens(height: float) -> np.ndarray:
    """[3 2 2]: the zero token and the other one of every sample."""
    X = np.zeros((3, 2, 2))
    X[:, 1] = [[1.0, 1.0], [1.0, -1.0], [0.5, height]]
    return X


def one(case: str, steps: int) -> list[dict[str, Any]]:
    """Both paths, and the angles to the solutions of the joint problem."""
    X = tokens(CASES[case])
    joint = joint_prompt_svm(X, LABELS, [1, 1, 1])
    limit = {"v": joint.v.W[:, 0], "p": joint.p.W[:, 0]}
    z = np.ones((3, 1))
    now = {"v": np.array([-1.0, 0.0]), "p": np.array([0.0, -1.0])}
    rows: list[dict[str, Any]] = []
    for step in range(steps + 1):
        if step <= 200 or step % 10 == 0:
            for who, a in now.items():
                w = limit[who]
                cosine = a @ w / np.linalg.norm(a) / np.linalg.norm(w)
                rows.append({"step": step, "who": who, "x": a[0], "y": a[1],
                             "degrees": np.degrees(np.arccos(np.clip(cosine, -1, 1))),
                             "limit x": w[0], "limit y": w[1]})  # fmt: skip
        scores = LABELS[:, None] * (X @ now["v"])
        s = attention(now["p"][:, None], X, z)
        weight = slope(np.sum(s * scores, axis=1)) * LABELS
        toward = {
            "v": np.einsum("i,it,itd->d", weight, s, X),
            "p": scaled_gradient(now["p"][None, :, None], X[None], z[None], scores[None])[0][0][
                :, 0
            ],
        }
        now = {who: a - 0.1 * toward[who] / np.linalg.norm(toward[who]) for who, a in now.items()}
    return rows


def compute(profile: str) -> Table:
    return sweep(one, [{"case": k, **PARAMETERS[profile]} for k in CASES])


def findings(table: Table) -> list[Finding]:
    end = max(table.column("step"))
    found = []
    for case, limits in LIMITS.items():
        rows = {who: table.where(case=case, step=end, who=who)[0] for who in limits}
        off = {who: degrees(rows[who], w) for who, w in limits.items()}
        half = (rows["p"]["limit x"] ** 2 + rows["p"]["limit y"] ** 2) / 2
        known = HALF[case]
        found.append(
            number(
                f"{case.capitalize()} case: |p|^2/2 = {known:g} at the solution",
                f"{half:.6f}",
                known=known, found=half, within=HALF_A_UNIT,
            )
        )  # fmt: skip
        names = {
            who: f"({', '.join(NAMES.get(x, f'{x:g}') for x in w)})" for who, w in limits.items()
        }
        found.append(
            statement(
                f"{case.capitalize()} case: v turns to {names['v']}, p to {names['p']}",
                f"after {end} steps they are {off['v']:.2f} and {off['p']:.2f} degrees away",
                max(off.values()) < NEAR,
            )
        )
    return found


def degrees(row: dict[str, Any], limit: tuple[float, float]) -> float:
    """The angle between a point of a path and a direction."""
    turn = complex(row["x"], row["y"]) / complex(*limit)
    return float(abs(np.degrees(np.angle(turn))))


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(1, 3, figsize=(TEXT, 2.7), width_ratios=[1, 1, 1.1])
    hues, lines = {"v": BLUE, "p": VERMILLION}, dict(zip(CASES, ("-", "--"), strict=True))
    turn = grid[2]
    for axes, case in zip(grid, CASES, strict=False):
        X = tokens(CASES[case])[:, 1]
        for label, sign, fill in ((1.0, "1", "black"), (-1.0, "−1", "white")):
            axes.scatter(*X[label == LABELS].T, c=fill, edgecolors="black", s=24, zorder=4,
                         label=f"token of a sample of label {sign}")  # fmt: skip
        axes.plot(0, 0, "+", color="black", label="zero token of every sample")
        for who, hue in hues.items():
            rows = table.where(case=case, who=who)
            axes.plot(rows.column("x"), rows.column("y"), color=hue, label=f"path of ${who}$")
            w = np.array([rows[0]["limit x"], rows[0]["limit y"]])
            axes.plot(*np.array([0 * w, 100 * w]).T, color=hue, linestyle=":",
                      label=f"max-margin ray of ${who}$")  # fmt: skip
            turn.plot(rows.column("step")[1:], rows.column("degrees")[1:], color=hue,
                      linestyle=lines[case])  # fmt: skip
        axes.set(title=f"{case} case", xlim=(-2, 8), ylim=(-2, 8), aspect="equal",
                 xlabel="first coordinate")  # fmt: skip
    grid[0].set_ylabel("second coordinate")
    turn.set(xscale="log", yscale="log", ylim=(0.05, 200), xlabel="step")
    turn.set(ylabel="degrees to the ray", title="tight solid, relaxed dashed")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
