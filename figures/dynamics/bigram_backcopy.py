"""A small transformer on Bigram-Backcopy: a head that attends to the start token."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.solvers.dynamics.backcopy_training import train
from dsf.solvers.dynamics.bigram_backcopy import draw_task
from dsf.tools.style import BLACK, GREY, TEXT, VERMILLION

TITLE = "A trained softmax head attends to the start token where it has nothing to copy"
SEE = (
    "With softmax the share of attention on the start token rises and stays while the value of "
    "that token shrinks; with ReLU it falls again in the long runs. Leaving out attention costs "
    "the backcopy loss two orders of magnitude and more, leaving out the MLP costs both losses."
)
PAPER = (
    "On the Bigram-Backcopy task non-trigger tokens attend to the start token and its value "
    "shrinks, while triggers attend to the previous token; leaving out attention harms backcopy "
    "only, leaving out the MLP harms the bigram part; the sink logits of all tokens come together; "
    "ReLU attention has no sink (Guo et al. 2024, arXiv 2410.13835; as quoted in public sources)."
)
DIFFERS = (
    "A random chain of 32 tokens in place of the letters of Shakespeare, 48 tokens, one layer, "
    "width 64, 1000 or 3000 steps of batch 64, against 66 tokens of length 256, width 256 and "
    "10 000 to 100 000 steps of batch 512 in the paper. The strength of the sink depends on the "
    "seed; all seeds are shown. Large embeddings are part of the recipe: with small ones attention "
    "can serve the bigram part and no sink appears. ReLU weights are scaled to sum to one in the "
    "first panel."
)
ORDER = 4
THEOREMS = ("training/sink_dynamics",)
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 20, "batch": 8, "seeds": 1},
    "default": {"steps": 1000, "batch": 64, "seeds": 3},
    "paper": {"steps": 3000, "batch": 64, "seeds": 5},
}
LENGTH = 48
NAMES = {"softmax": "softmax", "relu": "ReLU"}
MARKS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)  # fractions of the run at which we measure
SINK = 4  # a sink has this many times the uniform share; the same for both kinds of attention
SETTLED = 2250  # steps: in the long runs the share of ReLU rises, then falls until then
LEARNED = 0.2  # backcopy loss, of about 2.4 without copying: below it the task is learned
AWAKE = 0.01  # of its attention: a trigger that leaves less on the start token does not use it
COPIES = 0.5  # of its attention: more than that on the previous token is most of it
DRAINED = 0.7  # of the value norm of the others; the seeds here lie between 0.17 and 0.55
HARMED, KEPT = 10, 0.1  # times the loss with all parts; and a loss that is small without one
TOGETHER = 0.1  # of their mean lead: the standard deviation over tokens that is still "together"
UNIFORM = float(np.mean([1 / (i + 1) for i in range(2, LENGTH)]))


def one(attention: str, seed: int, steps: int, batch: int) -> list[dict[str, Any]]:
    record = tuple(round(m * steps) for m in MARKS)
    found = train(
        draw_task(), attention, seed, steps=steps, length=LENGTH, batch=batch, record=record
    )
    return list(found)


def compute(profile: str) -> Table:
    p = dict(PARAMETERS[profile])
    seeds = p.pop("seeds")
    return sweep(one, [{"attention": a, "seed": s, **p} for a in NAMES for s in range(seeds)])


def final(table: Table, attention: str) -> Table:
    """The last rows of all seeds."""
    rows = table.where(attention=attention)
    return rows.where(step=max(rows.column("step")))


def span(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if len(values) > 1 else f"{values[0]:.3g}"


def value_ratio(rows: Table) -> list[float]:
    return [r["value_start"] / r["value_other"] for r in rows]


def findings(table: Table) -> list[Finding]:
    soft, relu = final(table, "softmax"), final(table, "relu")
    lost = max(r["backcopy"] for r in (*soft, *relu))
    if lost > LEARNED:
        ours = f"backcopy loss {lost:.2f} after {soft[0]['step']} steps: too few to judge"
        return [unknown("Sinks on the Bigram-Backcopy task", ours)]
    return [*_about_sinks(soft, relu), *_about_parts(soft)]


def _about_sinks(soft: Table, relu: Table) -> list[Finding]:
    """Attention and values of the start token, with softmax and with ReLU."""
    column = soft.column
    return [
        statement(
            "Non-trigger tokens attend to the start token",
            f"share {span(column('share_other'))} over {len(soft)} seeds after {soft[0]['step']} "
            f"steps (uniform rows: {UNIFORM:.3f})",
            min(column("share_other")) > SINK * UNIFORM,
        ),
        statement(
            "Triggers attend to the previous token",
            f"share {span(column('previous_trigger'))}; on the start token "
            f"{span(column('start_trigger'))}",
            min(column("previous_trigger")) > COPIES and max(column("start_trigger")) < AWAKE,
        ),
        statement(
            "The value of the start token shrinks",
            f"its norm is {span(value_ratio(soft))} of that of the others",
            max(value_ratio(soft)) < DRAINED,
        ),
        statement(
            "The sink logits of all tokens come together",
            f"the lead of the start logit has the mean {span(column('delta'))} and the standard "
            f"deviation {span(column('delta_spread'))} over tokens",
            max(r["delta_spread"] / r["delta"] for r in soft) < TOGETHER,
        ),
        _about_relu(relu),
    ]


def _about_relu(relu: Table) -> Finding:
    """Whether ReLU attention has a sink, once its weights have settled."""
    words, steps = "ReLU attention has no sink", relu[0]["step"]
    left = sum(r["share_other"] > SINK * UNIFORM for r in relu)
    ours = (
        f"scaled share {span(relu.column('share_other'))} after {steps} steps, in {left} of "
        f"{len(relu)} seeds more than {SINK} times uniform; value ratio {span(value_ratio(relu))}"
    )
    if steps < SETTLED:
        return unknown(words, f"{ours}; too early to judge, it falls until step {SETTLED}")
    return statement(words, ours, left == 0)


def _about_parts(soft: Table) -> list[Finding]:
    """The losses without attention and without the MLP."""
    column = soft.column
    return [
        statement(
            "Leaving out attention harms backcopy only",
            f"backcopy loss {span(column('no_attention_backcopy'))} for {span(column('backcopy'))}"
            f"; bigram loss {span(column('no_attention_bigram'))} for {span(column('bigram'))} "
            "(above the oracle)",
            all(r["no_attention_backcopy"] > HARMED * r["backcopy"] for r in soft)
            and max(column("no_attention_bigram")) < KEPT,
        ),
        statement(
            "Leaving out the MLP harms the bigram part",
            f"bigram loss {span(column('no_mlp_bigram'))}; backcopy "
            f"{span(column('no_mlp_backcopy'))}, which is harmed as well",
            all(r["no_mlp_bigram"] > HARMED * r["bigram"] for r in soft),
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, ((share, ratio), (lead, losses)) = plt.subplots(2, 2, figsize=(TEXT, 4.6))
    looks = {
        "softmax": {"color": BLACK, "linestyle": "-", "marker": "o"},
        "relu": {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    }
    for attention, name in NAMES.items():
        for i, seed in enumerate(table.values("seed")):
            rows = table.where(attention=attention, seed=seed)
            look = {**looks[attention], "label": name if i == 0 else None}
            x = rows.column("step")
            share.plot(x, rows.column("share_other"), **look)
            ratio.plot(x, value_ratio(rows), **look)
            if attention == "softmax":
                delta, spread = (np.array(rows.column(c)) for c in ("delta", "delta_spread"))
                lead.plot(x, delta, **look)
                lead.fill_between(x, delta - spread, delta + spread, color=BLACK, alpha=0.1, lw=0)
    share.axhline(UNIFORM, color=GREY, linestyle=":", label="uniform rows")
    share.set(xlabel="step", ylabel="share of the attention", ylim=(0, 1.15))
    share.set_title("Non-triggers attend to the start token")
    share.legend(loc="upper left", ncols=3)
    ratio.axhline(1, color=GREY, linestyle=":")
    ratio.set(xlabel="step", ylabel="value norm, start / others", ylim=(0, None))
    ratio.set_title("The value of the start token shrinks")
    lead.axhline(0, color=GREY, linestyle=":")
    lead.set(xlabel="step", ylabel="Δ logit (shaded: ± std over tokens)")
    lead.set_title("Softmax: lead of the start token's logit")
    _draw_losses(losses, final(table, "softmax"))
    return figure


def _draw_losses(losses: Any, soft: Table) -> None:
    """Losses of the whole model and without its parts, a mark per seed."""
    variants = {"": "whole", "no_attention_": "no attention", "no_mlp_": "no MLP"}
    for shift, part, mark, hue in (
        (-0.1, "bigram", "o", BLACK),
        (0.1, "backcopy", "s", VERMILLION),
    ):
        for k, prefix in enumerate(variants):
            y = soft.column(prefix + part)
            label = part if k == 0 else None
            losses.plot([k + shift] * len(y), y, mark, color=hue, mfc="none", label=label)
    losses.set_xticks(range(len(variants)), list(variants.values()))
    losses.set(yscale="log", ylabel="loss (bigram: above the oracle)", xlim=(-0.5, 2.5))
    losses.set_title(f"Softmax after {soft[0]['step']} steps: parts left out")
    losses.legend(loc="lower right")
