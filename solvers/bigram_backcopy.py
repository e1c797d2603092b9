"""The Bigram-Backcopy task, and a one-layer transformer trained on it.

A Markov chain over `vocabulary` tokens, except after triggers: x_{t+1} = x_{t-1} if x_t is a
trigger, else x_{t+1} ~ P(. | x_t); x_0 is a start token (Guo et al. 2024, arXiv 2410.13835, with a
random chain instead of letters of Shakespeare).  Only trigger tokens need attention: for the others
the sink on the start token says "do nothing".

    h = E[x] + pos,  h += attention(norm(h)),  h += relu(norm(h) W1) W2,  logits = norm(h) R

Attention is softmax, relu(s)/1 or sigmoid(s)/1 (not normalised), or softmax with a key that
belongs to no token and has no value ("key bias").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.errors import UnknownNameError
from dsf.solvers.problem import Array

ATTENTION = ("softmax", "relu", "sigmoid", "key bias")


@dataclass(frozen=True, eq=False)
class Task:
    """P [V V] rows of the chain, `triggers`, the marginal of the first token; V is the start token.

    >>> task = draw_task()
    >>> sorted(task.triggers.tolist()), round(float(task.stationary[task.triggers].sum()), 3)
    ([0, 10, 12], 0.15)
    """

    P: Array
    stationary: Array
    triggers: Array

    @property
    def V(self) -> int:
        return len(self.P)

    def sequences(self, rng: np.random.Generator, count: int, length: int) -> Array:
        """[count length + 1] tokens: inputs are all but the last, targets all but the first."""
        cumulative = np.cumsum(self.P, axis=1)
        first = self.stationary.copy()
        first[self.triggers] = 0
        is_trigger = np.isin(np.arange(self.V + 1), self.triggers)
        x = np.full((count, length + 1), self.V)
        x[:, 1] = np.searchsorted(np.cumsum(first / first.sum()), rng.random(count))
        for t in range(2, length + 1):
            last = x[:, t - 1]
            drawn = (rng.random(count)[:, None] > cumulative[last]).sum(axis=1)
            x[:, t] = np.where(is_trigger[last], x[:, t - 2], np.minimum(drawn, self.V - 1))
        return x

    def oracle_loss(self, x: Array) -> Array:
        """-log probability of x_{t+1} in the true model, t >= 1: [count length-1]."""
        now, following = x[:, 1:-1], x[:, 2:]
        loss = -np.log(self.P[now, following])
        return np.where(np.isin(now, self.triggers), 0.0, loss)


def draw_task(V: int = 32, triggers: int = 3, alpha: float = 0.3, seed: int = 0) -> Task:
    """Rows of P from a Dirichlet; triggers are the most frequent tokens of the chain."""
    P = np.random.default_rng(seed).dirichlet(np.full(V, alpha), V)
    P = np.maximum(P, 1e-300)
    values, vectors = np.linalg.eig(P.T)
    stationary = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    stationary /= stationary.sum()
    return Task(P, stationary, np.argsort(-stationary)[:triggers])


def model(
    vocabulary: int, length: int, width: int = 64, attention: str = "softmax", seed: int = 0
) -> Any:
    """The transformer of this file, a torch module that returns logits and what it looked at.

    Embeddings are N(0, 1), weights N(0, 1/(4 fan_in)), no biases, one head; the recipe decides
    whether a sink appears: with small embeddings attention serves the bigram task and none does.
    """
    import torch
    from torch import nn

    if attention not in ATTENTION:
        raise UnknownNameError(f"attention {attention!r} is not one of {', '.join(ATTENTION)}")
    generator = torch.Generator().manual_seed(seed)

    def weight(rows: int, columns: int, std: float | None = None) -> nn.Parameter:
        size = 0.5 / rows**0.5 if std is None else std
        return nn.Parameter(size * torch.randn(rows, columns, generator=generator))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = weight(vocabulary, width, 1.0), weight(length, width, 1.0)
            self.qkv, self.out = weight(width, 3 * width), weight(width, width)
            self.up, self.down = weight(width, 4 * width), weight(4 * width, width)
            self.read = weight(width, vocabulary)
            if attention == "key bias":
                self.key = weight(width, 1, 0.02)
            mask = torch.ones(length, length).tril().bool()
            self.register_buffer("mask", mask)

        def forward(self, x: Any, skip: str = "") -> tuple[Any, dict[str, Any]]:
            h = self.tokens[x] + self.places
            q, k, v = (norm(h) @ self.qkv).chunk(3, dim=-1)
            s = q @ k.transpose(-1, -2) / width**0.5
            if attention == "softmax":
                A = s.masked_fill(~self.mask, -torch.inf).softmax(-1)
            elif attention == "key bias":
                extra = q @ self.key / width**0.5
                joint = torch.cat([extra, s.masked_fill(~self.mask, -torch.inf)], dim=-1)
                A = joint.softmax(-1)[..., 1:]
            else:
                A = (torch.relu(s) if attention == "relu" else torch.sigmoid(s)) * self.mask
            if skip != "attention":
                h = h + A @ v @ self.out
            if skip != "mlp":
                h = h + torch.relu(norm(h) @ self.up) @ self.down
            return norm(h) @ self.read, {"logits": s, "A": A, "values": v @ self.out}

    def norm(h: Any) -> Any:
        return nn.functional.layer_norm(h, (width,))

    return Model()


def train(
    task: Task,
    attention: str = "softmax",
    seed: int = 0,
    steps: int = 1000,
    length: int = 48,
    batch: int = 64,
    rate: float = 1e-3,
    record: tuple[int, ...] = (),
) -> list[dict[str, float]]:
    """Train with AdamW (decay 1e-4) and `measure` at the steps in `record` and at the end.

    The seed sets the initialisation and the batches; the chain is the task's.
    """
    import torch

    net = model(task.V + 1, length, attention=attention, seed=seed)
    rng = np.random.default_rng(seed)
    held_out = task.sequences(np.random.default_rng(1), 256, length)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
    found = []
    for step in range(steps + 1):
        if step in record or step == steps:
            found.append({"step": step, **measure(net, task, held_out, parts=step == steps)})
        if step == steps:
            break
        x = torch.from_numpy(task.sequences(rng, batch, length))
        y, _ = net(x[:, :-1])
        loss = torch.nn.functional.cross_entropy(y[:, 1:].flatten(0, 1), x[:, 2:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return found


def measure(net: Any, task: Task, x: Array, parts: bool = True) -> dict[str, float]:
    """Losses and what the head does, on sequences x [count length+1], from position 2 on.

    bigram, backcopy      loss at non-triggers above the oracle, loss at triggers
    no_attention_*, no_mlp_*   the same with that part of the layer left out (if `parts`)
    start_other, start_trigger   mean attention on the start token (as it is, not normalised)
    previous_trigger      mean attention of triggers on the previous token
    value_start, value_other   mean norm of the values after the output projection
    delta, delta_spread   mean over non-trigger tokens of the lead of the start logit, and std
    """
    import torch

    from dsf.solvers.attention_metrics import delta_logit, normalised_magnitude, value_norm

    tokens = torch.from_numpy(x)
    use = np.s_[:, 2:]
    now = x[:, :-1][use]
    trigger = np.isin(now, task.triggers)
    oracle = task.oracle_loss(x)[:, 1:]
    found: dict[str, float] = {}
    with torch.no_grad():
        variants = (("", ""), ("no_attention_", "attention"), ("no_mlp_", "mlp"))
        for name, skip in variants if parts else variants[:1]:
            y, seen = net(tokens[:, :-1], skip)
            loss = torch.nn.functional.cross_entropy(
                y.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
            )
            loss = loss.reshape(len(x), -1).double().numpy()[use]
            found[f"{name}bigram"] = float((loss - oracle)[~trigger].mean())
            found[f"{name}backcopy"] = float(loss[trigger].mean())
            if not name:
                looked = {k: v.double().numpy() for k, v in seen.items()}
    A = looked["A"]
    start = A[:, 2:, 0]
    found["start_other"] = float(start[~trigger].mean())
    found["start_trigger"] = float(start[trigger].mean())
    share = normalised_magnitude(A)[:, 2:, 0]
    found["share_other"] = float(share[~trigger].mean())
    found["previous_trigger"] = float(np.diagonal(A, -1, 1, 2)[:, 1:][trigger].mean())
    first, rest = value_norm(looked["values"]).mean(axis=0)
    found["value_start"], found["value_other"] = float(first), float(rest)
    delta = delta_logit(looked["logits"])[use]
    means = [delta[now == v].mean() for v in range(task.V) if v not in task.triggers]
    found["delta"], found["delta_spread"] = float(np.mean(means)), float(np.std(means))
    return found
