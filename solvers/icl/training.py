"""Heads of softmax attention, trained from a random start on fresh prompts.

    TF(u) = sum_h O_h V_h Z softmax(Z'K_h'Q_h z_q / sqrt(D)),   u = (z_1, ..., z_L, z_q) [L+1 D]

z_l = (x_l, y_l), z_q = (x_q, 0).  The attention is `dsf.softmax(include_self=False)`: the query
sees the examples and not itself.  Heads have D dimensions each and no biases; all weights start
uniform in +-1/sqrt(fan_in).  What matters of a head are its circuits

    KQ_h = K_h'Q_h / sqrt(D) [D D],    OV_h = O_h V_h [outputs D] .

The last column of KQ_h multiplies the 0 of the query: it does nothing.
Source: He et al. 2025, arXiv 2503.12734, sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dsf.core import ops
from dsf.mechanisms.attention.softmax import Softmax
from dsf.solvers.dynamics.optimisers import Adam
from dsf.solvers.icl.estimators import prompt_tokens
from dsf.solvers.icl.prompts import Array, Prompts

BLOCK = 4  # batches that are drawn in one go: they fit into the cache
SMOOTHING = 0.999  # of the mean of the loss that is recorded

Batch = tuple[Array, Array]  # tokens u [B L+1 D], targets [B outputs]


class Circuits(NamedTuple):
    """What the heads do: KQ [H D D] (rows: key, columns: query), OV [H outputs D]."""

    KQ: Array
    OV: Array


class Record(NamedTuple):
    """The circuits at a step, and the mean loss up to it (weights 0.999^age)."""

    step: int
    loss: float
    circuits: Circuits


def batches(prompts: Prompts, rng: Any, batch: int) -> Iterator[Batch]:
    """Fresh batches without end, float32.

    >>> u, target = next(batches(Prompts(d=2, length=3, noise_var=0.1), 0, 4))
    >>> u.shape, target.shape, u[0, -1, -1]
    ((4, 4, 3), (4, 1), np.float32(0.0))
    """
    rng = np.random.default_rng(rng)
    while True:
        drawn = prompts.draw(rng, BLOCK * batch, np.float32)
        u, target = prompt_tokens(drawn.X, drawn.y[..., None], drawn.query), drawn.target[:, None]
        yield from zip(np.split(u, BLOCK), np.split(target, BLOCK), strict=True)


def start(D: int, heads: int, outputs: int, seed: int) -> dict[str, Array]:
    """Q, K, V [H D D] and O [H D outputs] in +-1/sqrt(fan_in), float32.

    >>> {k: x.shape for k, x in start(6, 2, 1, 0).items()}
    {'Q': (2, 6, 6), 'K': (2, 6, 6), 'V': (2, 6, 6), 'O': (2, 6, 1)}
    """
    rng = np.random.default_rng(seed)
    shapes = {"Q": (heads, D, D), "K": (heads, D, D), "V": (heads, D, D), "O": (heads, D, outputs)}
    fan_in = {"Q": D, "K": D, "V": D, "O": heads * D}
    return {
        k: rng.uniform(-1, 1, s).astype(np.float32) / np.float32(fan_in[k] ** 0.5)
        for k, s in shapes.items()
    }


def predict(KQ: Any, OV: Any, u: Any) -> Any:
    """TF(u) [B outputs] of circuits KQ [H D D], OV [H outputs D]; numpy or torch.

    Only the row of the query is computed, and keys are not made.  `layer` is the slow twin.

    >>> predict(np.ones((1, 3, 3)), np.ones((1, 1, 3)), np.ones((1, 4, 3))).tolist()
    [[3.0]]
    """
    H, outputs, D = OV.shape
    asked = u[..., -1, :] @ ops.moveaxis(KQ, -1, 0).reshape(D, H * D)
    examples = u[..., :-1, :]
    logits = asked.reshape(*u.shape[:-2], H, D) @ ops.mT(examples)
    seen = (ops.softmax(logits) @ examples).reshape(*u.shape[:-2], H * D)
    return seen @ ops.moveaxis(OV, 1, 0).reshape(outputs, H * D).T


def layer(w: dict[str, Array]) -> Callable[[Array], Array]:
    """TF by `dsf.softmax(include_self=False)`, with the rows of all tokens: u to [B outputs].

    >>> layer({k: np.ones_like(x) for k, x in start(3, 1, 1, 0).items()})(np.ones((1, 4, 3)))
    array([[9.]])
    """
    mech = Softmax(Wq=w["Q"], Wk=w["K"], Wv=w["V"], include_self=False)
    return lambda u: mech(u)[..., -1, :] @ w["O"].reshape(-1, w["O"].shape[-1])


def circuits(w: dict[str, Any]) -> Circuits:
    """KQ and OV of all heads; numpy or torch.

    >>> found = circuits(start(3, 2, 1, 0))
    >>> found.KQ.shape, found.OV.shape
    ((2, 3, 3), (2, 1, 3))
    """
    KQ = w["K"] @ ops.mT(w["Q"]) / w["K"].shape[-1] ** 0.5
    return Circuits(KQ, ops.mT(w["V"] @ w["O"]))


def train(
    source: Iterator[Batch],
    heads: int,
    steps: int,
    record: Callable[[int], bool],
    seed: int = 1029,
    rate: float = 1e-3,
) -> tuple[list[Record], dict[str, Array]]:
    """Minimise the mean squared error by Adam on fresh batches; what was recorded, the weights.

    record   whether a step is recorded; the last one always is
    """
    import torch

    u, target = next(source)
    initial = start(u.shape[-1], heads, target.shape[-1], seed)
    flat = torch.from_numpy(np.concatenate([x.ravel() for x in initial.values()]))
    flat.requires_grad_()
    sizes = [x.size for x in initial.values()]

    def parts() -> dict[str, Any]:
        pieces = zip(initial.items(), flat.split(sizes), strict=True)
        return {k: part.view(*x.shape) for (k, x), part in pieces}

    direction, found = Adam(), []
    mean = weight = 0.0
    for step in range(steps + 1):
        if step == steps or record(step):
            now = {k: x.detach().numpy().copy() for k, x in parts().items()}
            exact = circuits({k: x.astype(np.float64) for k, x in now.items()})
            found.append(Record(step, float(mean / weight) if step else float("nan"), exact))
        if step == steps:
            return found, now
        found_y = predict(*circuits(parts()), torch.from_numpy(u))
        loss = torch.mean((found_y - torch.from_numpy(target)) ** 2)
        (gradient,) = torch.autograd.grad(loss, flat)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.detach()
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        with torch.no_grad():
            flat -= rate * direction(gradient)
        u, target = next(source)
    raise AssertionError("unreachable")


class Pattern(NamedTuple):
    """What is left of one head with d covariates and one output, and how much of it that is.

    omega, mu     mean of the diagonal of KQ's block of covariates; last entry of OV
    diagonal      norm of that diagonal over the norm of all entries of KQ that do something
    spread        variance of that diagonal
    value         mu^2 / |OV|^2
    """

    omega: float
    mu: float
    diagonal: float
    spread: float
    value: float


def pattern(KQ: Array, OV: Array) -> Pattern:
    """The pattern of one head, KQ [D D] and OV [1 D]; the column of KQ that does nothing left out.

    >>> pattern(np.diag([2.0, 2.0, 0.0]), np.array([[0.0, 0.0, 3.0]]))
    Pattern(omega=2.0, mu=3.0, diagonal=1.0, spread=0.0, value=1.0)
    """
    diagonal = np.diagonal(KQ)[:-1]
    size, value = np.linalg.norm(KQ[:, :-1]), np.sum(OV**2)
    return Pattern(
        float(diagonal.mean()),
        float(OV[0, -1]),
        float(np.linalg.norm(diagonal) / size) if size else 0.0,
        float(diagonal.var()),
        float(OV[0, -1] ** 2 / value) if value else 0.0,
    )
