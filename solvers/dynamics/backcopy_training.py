"""Training the transformer of `backcopy_model` on Bigram-Backcopy, and what its head then does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dsf.solvers.dynamics.backcopy_model import KINDS, UNNORMALISED, model
from dsf.solvers.dynamics.bigram_backcopy import Task
from dsf.solvers.dynamics.optimisers import Adam
from dsf.solvers.heads import attention_metrics as metrics
from dsf.solvers.heads.deconstructed import scaled
from dsf.solvers.svm.problem import Array

BLOCK = 50  # batches that are drawn in one go


def train(
    task: Task,
    attention: str = "softmax",
    seed: int = 0,
    steps: int = 1000,
    length: int = 48,
    batch: int = 64,
    rate: float = 1e-3,
    decay: float = 1e-4,
    record: tuple[int, ...] = (),
    layers: int = 1,
    alpha: float = 3.0,
) -> list[dict[str, float]]:
    """Train by AdamW and `measure` at the steps in `record` and at the end.

        w <- w - rate (decay w + Adam(gradient))

    The loss is taken at positions >= 1.  The seed sets the initialisation and the batches; the
    chain is the task's.  `attention`, `layers` and `alpha` are those of `backcopy_model.model`.
    """
    import torch

    text = task.sequences(np.random.default_rng(2), 1, length)[0, :-1]
    net = model(
        task.V + 1, length, attention=attention, seed=seed, layers=layers, alpha=alpha, text=text
    )
    held_out = task.sequences(np.random.default_rng(1), 256, length)
    weights = list(net.parameters())
    flat = torch.cat([w.detach().flatten() for w in weights])
    for w, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        w.data = part.view_as(w)  # one vector holds them all, so that one update moves them all
    direction = Adam()
    found = []
    for step, tokens in enumerate(batches(task, seed, steps, batch, length)):
        if step in record:
            found.append({"step": step, **measure(net, task, held_out, attention, parts=False)})
        x = torch.from_numpy(tokens)
        y, _ = net(x[:, :-1])
        loss = torch.nn.functional.cross_entropy(y[:, 1:].flatten(0, 1), x[:, 2:].flatten())
        gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        step_taken = direction(torch.cat([g.flatten() for g in gradients]))
        flat -= rate * (decay * flat + step_taken)
    return [*found, {"step": steps, **measure(net, task, held_out, attention)}]


def batches(task: Task, seed: int, steps: int, batch: int, length: int) -> Iterator[Array]:
    """`steps` arrays of tokens [batch length+1].

    >>> from dsf.solvers.dynamics.bigram_backcopy import draw_task
    >>> [x.shape for x in batches(draw_task(), 0, 2, 3, 5)]
    [(3, 6), (3, 6)]
    """
    rng = np.random.default_rng(seed)
    for start in range(0, steps, BLOCK):
        count = min(BLOCK, steps - start)
        yield from task.sequences(rng, count * batch, length).reshape(count, batch, length + 1)


def measure(
    net: Any, task: Task, x: Array, attention: str = "softmax", parts: bool = True
) -> dict[str, float]:
    """Losses and what the head does, on sequences x [count length+1], from position 2 on.

    bigram, backcopy      loss at non-triggers above the oracle, loss at triggers
    no_attention_*, no_mlp_*   the same with that part of every layer left out (if `parts`)
    start_other, start_trigger   mean attention on the start token, as it is
    share_other           the same for non-triggers; rows of |A| scaled to sum to one where the
                          kind of attention does not normalise (relu, sigmoid)
    alpha_1, weight_1     mean over all queries of that share, and of the attention as it is
                          (`attention_metrics.sink_weight`)
    row_sum               mean sum of a row of A
    previous_trigger      mean attention of triggers on the previous token
    value_start, value_other   mean norm of the values after the output projection
    kurtosis, infinity    of the stream that is read out
    delta, delta_spread   mean over non-trigger tokens of the lead of the start logit, and std
    gate_other, gate_trigger   mean of the gates after attention
    """
    now = x[:, 2:-1]
    trigger = np.isin(now, task.triggers)
    losses, seen = _losses(net, x, ("", "attention", "mlp") if parts else ("",))
    found: dict[str, float] = {}
    for skip, loss in losses.items():
        name = f"no_{skip}_" if skip else ""
        found[f"{name}bigram"] = float((loss - task.oracle_loss(x)[:, 1:])[~trigger].mean())
        found[f"{name}backcopy"] = float(loss[trigger].mean())
    A = np.broadcast_to(seen["A"], (len(x), *seen["A"].shape[-2:]))
    share = metrics.normalised_magnitude(A) if attention in UNNORMALISED else A
    first, rest = metrics.value_norm(seen["values"]).mean(axis=0)
    found |= {
        "start_other": A[:, 2:, 0][~trigger].mean(),
        "start_trigger": A[:, 2:, 0][trigger].mean(),
        "share_other": share[:, 2:, 0][~trigger].mean(),
        "alpha_1": metrics.sink_weight(share).mean(),
        "weight_1": metrics.sink_weight(A).mean(),
        "row_sum": A.sum(axis=-1).mean(),
        "previous_trigger": np.diagonal(A, -1, 1, 2)[:, 1:][trigger].mean(),
        "value_start": first,
        "value_other": rest,
        "kurtosis": metrics.kurtosis(seen["stream"]),
        "infinity": metrics.infinity_norm(seen["stream"]),
    }
    if attention in KINDS:
        delta = metrics.delta_logit(scaled(seen["q"], seen["k"]))[:, 2:]
        means = [delta[now == v].mean() for v in range(task.V) if v not in task.triggers]
        found |= {"delta": np.mean(means), "delta_spread": np.std(means)}
    if "gate" in seen:
        gate = seen["gate"][:, 2:]
        found |= {"gate_other": gate[~trigger].mean(), "gate_trigger": gate[trigger].mean()}
    return {name: float(value) for name, value in found.items()}


def _losses(
    net: Any, x: Array, skips: tuple[str, ...]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Losses from position 2 on without each part of `skips`; internals of the whole net."""
    import torch

    tokens = torch.from_numpy(x)
    losses: dict[str, Array] = {}
    seen: dict[str, Array] = {}
    with torch.no_grad():
        for skip in skips:
            y, looked = net(tokens[:, :-1], skip)
            loss = torch.nn.functional.cross_entropy(
                y[:, 2:].flatten(0, 1), tokens[:, 3:].flatten(), reduction="none"
            )
            losses[skip] = loss.reshape(len(x), -1).double().numpy()
            seen = seen or {key: value.double().numpy() for key, value in looked.items()}
    return losses, seen
