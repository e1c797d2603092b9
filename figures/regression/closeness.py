"""A layer of softmax attention, trained on tasks of softmax regression, against gradient steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.solvers.regression import in_context
from dsf.solvers.regression.in_context import closeness, descent, loss_of, predictions, train
from dsf.tools.style import BLACK, BLUE, GREY, ORANGE, TEXT, VERMILLION

TITLE = "A trained softmax layer came near a gradient step only where its heads took both signs"
SEE = (
    "Left: one head (red) stays far above the trained gradient step (black); runs in which heads "
    "of both signs arise (solid) come close, and so do the cosines of the derivatives (middle). "
    "Right: the best one head of its kind; as its logits get small it becomes the gradient step if "
    "the rows have mean zero (dashed), and the mean of the rows spoils it otherwise."
)
PAPER = (
    "A trained single softmax attention layer and softmax regression trained by one gradient "
    "step: the losses nearly coincide, Preds Diff and Model Diff fall and Model Cos rises towards "
    "1 during training (Li et al. 2023, arXiv 2304.13276; from the captions of its figures). "
    "Learning rates, numbers of tasks and heads, and how the layer is read out are not known to "
    "us."
)
DIFFERS = (
    "The protocol is ours: rows of A normal with variance 1/d, d = 20, b = softmax(Ax*), x* "
    "normal of variance 1. Tokens (a, nb, 0), query (0, 0, 1) without its own key, x = the sum of "
    "the heads' outputs, prediction softmax(Ax); the gradient steps start at 0 and their sizes "
    "are trained. Adam 3e-3, batches of 64 new tasks, measures on 256 others. Sensitivities are "
    "the derivatives of the first prediction by A. Right: logits s n b, values v times the rows, "
    "best v, n = 25."
)
ORDER = 1
THEOREMS = ("regression/attention_step", "regression/shifted_target")
SEED = 0
D, TESTS = 20, 256
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"sizes": [8], "heads": [1, 4], "seeds": 1, "steps": 20, "every": 10},
    "default": {"sizes": [25], "heads": [1, 4], "seeds": 2, "steps": 1000, "every": 100},
    "paper": {"sizes": [25], "heads": [1, 2, 4], "seeds": 5, "steps": 2000, "every": 200},
}
DESCENTS = (1, 3)  # numbers of gradient steps
SETTLED = 1000  # steps from which on the end is judged: the loss of the step size has long settled
NEAR = 0.1  # of the loss of predicting 1/n: losses nearer than that nearly coincide
COST = 0.1  # a relative difference of losses that is none of the step, whose size is free
ALIKE = 0.85  # a cosine that is on its way to 1
LOGITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
VALUES = np.geomspace(0.3, 1000, 80)
STEPS = np.linspace(0.05, 0.8, 76)
HUES = dict(zip((1, 2, 4), (VERMILLION, ORANGE, BLUE), strict=True))


def one(n: int, heads: int, seed: int, steps: int, every: int) -> list[dict[str, Any]]:
    """Both models in training; the sign of a head is that of what n b adds to its logits."""
    new = in_context.draw(np.random.default_rng(10**6 + n), TESTS, n, D)
    rows = []
    for record in train(n, D, heads, steps, every, seed=SEED + seed, gradient_steps=DESCENTS):
        signs = np.sign(np.einsum("hk,hk->h", record.mech.Wk[:, D], record.mech.Wq[:, D + 1]))
        rows += [
            {
                "what": "training", "step": record.step, "gradient_steps": k,
                "positive": int(np.sum(signs > 0)), **closeness(record, new, k)._asdict(),
            }
            for k in DESCENTS
        ]  # fmt: skip
    return rows


def single(n: int, centred: bool, logits: float) -> dict[str, Any]:
    """The least loss of one head with logits s n b and values v a; that of a gradient step."""
    new = in_context.draw(np.random.default_rng(10**6 + n), TESTS, n, D, centred)
    h = (ops.mT(new.A) @ ops.softmax(logits * n * new.b)[..., None])[..., 0]
    loss = [float(loss_of(predictions(new.A, v * h), new.b)) for v in VALUES.astype(np.float32)]
    best = [
        float(loss_of(predictions(new.A, descent(new, [e])), new.b))
        for e in STEPS.astype(np.float32)
    ]
    k = int(np.argmin(loss))
    return {"what": "single", "attention": loss[k], "value": VALUES[k], "descent": min(best)}


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    trained = sweep(one, [
        {"n": n, "heads": h, "seed": s, "steps": p["steps"], "every": p["every"]}
        for n in p["sizes"] for h in p["heads"] for s in range(p["seeds"])
    ])  # fmt: skip
    grid = [{"n": p["sizes"][0], "centred": c, "logits": s} for c in (False, True) for s in LOGITS]
    return Table([*trained, *sweep(single, grid)])


def runs(table: Table, gradient_steps: int = 1) -> list[Table]:
    """The rows of each training against so many gradient steps, in the order of steps."""
    rows = table.where(what="training", gradient_steps=gradient_steps)
    return [
        rows.where(n=n, heads=h, seed=s)
        for n in rows.values("n") for h in rows.values("heads") for s in rows.values("seed")
    ]  # fmt: skip


def split(run: Table) -> bool:
    """Whether the heads end with both signs."""
    return bool(0 < run[-1]["positive"] < run[-1]["heads"])


def gap(run: Table) -> float:
    """How far the loss of attention is above that of the step, over that of predicting 1/n."""
    return float((run[-1]["attention"] - run[-1]["descent"]) / run[-1]["nothing"])


def span(values: list[float]) -> str:
    """The least and the largest."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def findings(table: Table) -> list[Finding]:
    every = runs(table)
    ones = [r for r in every if r[-1]["heads"] == 1]
    both, same = [r for r in every if split(r)], [r for r in every if not split(r)]
    words = (
        "The losses of one softmax layer and of one gradient step nearly coincide",
        "Preds Diff falls during training", "Model Cos rises towards 1", "Model Diff falls",
        "Nothing on the signs of heads", "Nothing on several gradient steps",
    )  # fmt: skip
    if min(r[-1]["step"] for r in every) < SETTLED:
        trained = [unknown(w, f"after {every[0][-1]['step']} steps too early to judge")
                   for w in words]  # fmt: skip
    else:
        falls = [r[-1]["predictions"] / r[0]["predictions"] for r in every]
        more = runs(table, DESCENTS[1])
        lower = [m[-1]["descent"] / r[-1]["descent"] for m, r in zip(more, every, strict=True)]
        ratio = [
            m[-1]["predictions"] / r[-1]["predictions"] for m, r in zip(more, every, strict=True)
        ]
        cosines, sizes = [r[-1]["rows_cosine"] for r in every], [r[-1]["rows"] / r[0]["rows"]
                                                                for r in every]  # fmt: skip
        trained = [
            statement(
                words[0],
                f"gap over the loss of predicting 1/n: {span([gap(r) for r in ones])} with one "
                f"head, {span([gap(r) for r in every])} in all runs, below {NEAR:g} in "
                f"{sum(gap(r) < NEAR for r in every)} of {len(every)}",
                all(gap(r) < NEAR for r in every),
            ),
            statement(
                words[1], f"at the end {span(falls)} of what it was, over all runs",
                all(x < 1 for x in falls),
            ),
            statement(
                words[2],
                f"it ends at {span([r[-1]['rows_cosine'] for r in ones])} with one head, at "
                f"{span(cosines)} over all runs",
                all(x > ALIKE for x in cosines),
            ),
            statement(
                words[3], f"at the end {span(sizes)} of what it was, over all runs",
                all(x < 1 for x in sizes),
            ),
            derived(
                words[4],
                f"in {len(both)} of {len(every)} runs heads of both signs arise"
                + (f", where the gap is {span([gap(r) for r in both])} and the cosine "
                   f"{span([r[-1]['rows_cosine'] for r in both])}" if both else "")
                + (f"; in the others the gap is {span([gap(r) for r in same])}" if same else ""),
                max([gap(r) for r in both], default=0.0)
                < min([gap(r) for r in same], default=np.inf),
            ),
            derived(
                words[5],
                f"{DESCENTS[1]} steps, each of its own size, cost {span(lower)} of one step, and "
                f"the layer's predictions are {span(ratio)} times as far from theirs as from its",
                all(x < 1 for x in lower),
            ),
        ]  # fmt: skip
    rows = table.where(what="single")
    smallest = rows.where(logits=LOGITS[0])
    near = {c: smallest.where(centred=c)[0] for c in (False, True)}
    best = {c: min(rows.where(centred=c).column("attention")) for c in (False, True)}
    step = near[True]["descent"]
    return [
        *trained,
        derived(
            "Why one layer should do a gradient step is not said",
            f"with rows of mean zero a head with small logits costs {near[True]['attention']:.5f}, "
            f"the best step {step:.5f}; otherwise {near[False]['attention']:.5f}, and the best "
            f"such head {best[False]:.5f}",
            near[True]["attention"] < (1 + COST) * step < best[False],
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.7))
    rows = table.where(what="training")
    n = rows.values("n")[0]
    for run in runs(rows.where(n=n)):
        h, steps = run[0]["heads"], run.column("step")
        line = "-" if split(run) else ":"
        left.plot(steps, run.column("attention"), line, color=HUES[h])
        middle.plot(steps, run.column("rows_cosine"), line, color=HUES[h])
    for h in rows.values("heads"):
        left.plot([], [], color=HUES[h], label=f"{h} head{'s' if h > 1 else ''}")
    run = runs(rows.where(n=n))[0]
    left.plot(run.column("step"), run.column("descent"), color=BLACK, label="one gradient step")
    more = runs(rows.where(n=n), DESCENTS[1])[0]
    left.plot(more.column("step"), more.column("descent"), "--", color=BLACK,
              label=f"{DESCENTS[1]} gradient steps")  # fmt: skip
    left.axhline(run[0]["nothing"], color=GREY, linewidth=0.8)
    left.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    left.set_title(f"Loss, n = {n}")
    middle.plot([], [], "-", color=GREY, label="heads of both signs")
    middle.plot([], [], ":", color=GREY, label="of one sign")
    middle.axhline(1, color=GREY, linewidth=0.8)
    middle.set(xlabel="training step", ylabel="cosine of the derivatives", ylim=(-0.1, 1.05))
    middle.set_title("Model Cos")
    middle.legend(fontsize="small", loc="lower right")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    single_ = table.where(what="single")
    for centred, line, label in ((False, "-", "rows as drawn"), (True, "--", "rows of mean zero")):
        part = single_.where(centred=centred)
        right.plot(part.column("logits"), part.column("attention"), line, color=VERMILLION,
                   label=label)  # fmt: skip
    right.axhline(single_[0]["descent"], color=BLACK, label="best gradient step")
    right.set(xscale="log", xlabel="logits $s$ per $nb$", ylim=(0, None))
    right.set_title("The best one head")
    right.legend(fontsize="small", loc="lower right")
    return figure
