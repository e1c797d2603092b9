"""Softmax regression in context: a layer of softmax attention against gradient steps.

A task is A [n d] with rows N(0, I/d), x* ~ N(0, I), b = softmax(A x*); both models find an x in
the data and predict softmax(A x).

    descent     k steps x - eta_j n d grad L(x) from x = 0, eta_j trained
    attention   x = sum_h y_h at the query of `dsf.softmax(include_self=False)`, all its weights
                trained, tokens u_i = (a_i, n b_i, 0), query (0, 0, 1)

At x = 0 the first step is (eta d) A'(b - 1/n), and a head with logits s n b_i and values v a_i
gives v times the mean of the rows plus (v s) A'(b - 1/n) plus O(s^2): one step, but for the mean.
Softmax regression does not see it (A - 1 m' has the same predictions); `centred` rows have none.
All functions take numpy or torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dsf.core import ops
from dsf.core.catalogue import family
from dsf.mechanisms.attention.softmax import Softmax
from dsf.solvers.dynamics.optimisers import Adam
from dsf.solvers.regression.formulas import Array, slope

START = 0.3  # of eta: at n d times the gradient a step of 1 overshoots


class Tasks(NamedTuple):
    """A [B n d], b [B n]."""

    A: Any
    b: Any


def draw(rng: np.random.Generator, tasks: int, n: int, d: int, centred: bool = False) -> Tasks:
    """Fresh tasks, float32; centred: the mean of the rows is taken off each.

    >>> t = draw(np.random.default_rng(0), 2, 5, 3)
    >>> t.A.shape, t.b.shape, bool(np.allclose(t.b.sum(1), 1))
    ((2, 5, 3), (2, 5), True)
    """
    A = rng.standard_normal((tasks, n, d), np.float32) / np.float32(d**0.5)
    if centred:
        A -= A.mean(1, keepdims=True)
    return Tasks(A, predictions(A, rng.standard_normal((tasks, d), np.float32)))


def predictions(A: Any, x: Any) -> Any:
    """softmax(A x) [B n] for A [B n d], x [B d]."""
    return ops.softmax((A @ x[..., None])[..., 0])


def descent(tasks: Tasks, eta: Any) -> Any:
    """x [B d] after len(eta) gradient steps from 0, of size eta_j n d.

    >>> t = draw(np.random.default_rng(0), 2, 5, 3)
    >>> wanted = 0.9 * np.einsum("bnd,bn->bd", t.A, t.b - 0.2)
    >>> bool(np.allclose(descent(t, [0.3]), wanted))
    True
    """
    A, b = tasks
    x = 0 * A[..., 0, :]
    for step in eta:
        u = slope(predictions(A, x), b)
        x = x - step * A.shape[-2] * A.shape[-1] * (ops.mT(A) @ u[..., None])[..., 0]
    return x


def layer(d: int, heads: int, seed: int) -> Softmax:
    """The catalogue's layer for rows of d numbers, drawn as the catalogue draws it."""
    drawn = family("softmax")(include_self=False).init(d + 2, n=d, p=d, heads=heads, seed=seed)
    return drawn if isinstance(drawn, Softmax) else Softmax(**drawn.parameters())


def attended(mech: Softmax, tasks: Tasks) -> Any:
    """x [B d], the output of the layer at the query, summed over heads; no other is computed."""
    tok = mech.tokens(prompt(tasks))
    M, X = mech.weights(tok, 1)
    return ops.asum((M @ X)[..., 0, :], -2, keepdims=False)


def prompt(tasks: Tasks) -> Any:
    """u [B n+1 d+2], the tokens (a_i, n b_i, 0), then (0, 0, 1).

    >>> prompt(Tasks(np.ones((1, 2, 1)), np.full((1, 2), 0.5)))
    array([[[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 1.]]])
    """
    A, b = tasks
    rows = ops.cat([A, A.shape[-2] * b[..., None], 0 * b[..., None]], -1)
    last = 0 * rows[..., :1, :]
    return ops.cat([rows, ops.cat([last[..., :-1], last[..., -1:] + 1], -1)], -2)


class Record(NamedTuple):
    """The models at a step: what trains, as numpy arrays in float64; eta by number of steps."""

    step: int
    eta: dict[int, Array]
    mech: Softmax


def train(
    n: int,
    d: int,
    heads: int,
    steps: int,
    every: int,
    *,
    seed: int = 0,
    gradient_steps: tuple[int, ...] = (1,),
    centred: bool = False,
    batch: int = 64,
    rate: float = 3e-3,
) -> list[Record]:
    """Train all models on the same fresh tasks by Adam; what they are at every `every` steps.

    The loss is n |softmax(A x) - b|^2 / 2, averaged over a batch; eta is trained as its logarithm,
    for each number of gradient steps by itself.
    """
    import torch

    rng = np.random.default_rng(seed)
    first = layer(d, heads, seed)
    start = {str(k): np.full(k, np.log(START)) for k in gradient_steps} | first.parameters()
    w = {k: torch.tensor(x, dtype=torch.float32, requires_grad=True) for k, x in start.items()}
    rules, found = {k: Adam() for k in w}, []

    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            now = {k: x.detach().numpy().astype(np.float64) for k, x in w.items()}
            eta = {k: np.exp(now.pop(str(k))) for k in gradient_steps}
            found.append(Record(step, eta, Softmax(**now, include_self=False)))
        tasks = Tasks(*map(torch.from_numpy, draw(rng, batch, n, d, centred)))
        mech = Softmax(**{k: w[k] for k in first.parameters()}, include_self=False)
        xs = [descent(tasks, torch.exp(w[str(k)])) for k in gradient_steps]
        xs.append(attended(mech, tasks))
        loss = sum(loss_of(predictions(tasks.A, x), tasks.b) for x in xs) * n
        gradients = torch.autograd.grad(loss, list(w.values()))
        with torch.no_grad():
            for (k, x), g in zip(w.items(), gradients, strict=True):
                x -= rate * rules[k](g)
    return found


def loss_of(f: Any, b: Any) -> Any:
    """|f - b|^2 / 2, averaged over the tasks."""
    return ops.asum((f - b) ** 2).mean() / 2


class Closeness(NamedTuple):
    """How close the predictions f [n] of attention and of gradient steps are, averaged over tasks.

    descent, attention    the losses; `nothing` is that of x = 0, which predicts 1/n
    predictions           |f - g|, of g from the gradient steps; `moved` is |g - 1/n|
    rows, targets         |D_f - D_g| for the derivatives D of the first prediction by A, by b
    rows_cosine, targets_cosine     their cosines
    """

    descent: float
    attention: float
    nothing: float
    predictions: float
    moved: float
    rows: float
    rows_cosine: float
    targets: float
    targets_cosine: float


def closeness(record: Record, tasks: Tasks, gradient_steps: int = 1) -> Closeness:
    """The measures of the paper on new tasks, in float64."""
    import torch

    A, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in tasks)
    parts = {k: torch.tensor(x) for k, x in record.mech.parameters().items()}
    xs = (
        attended(Softmax(**parts, include_self=False), Tasks(A, b)),
        descent(Tasks(A, b), torch.tensor(record.eta[gradient_steps])),
    )
    f, g = (predictions(A, x) for x in xs)
    D = [torch.autograd.grad(h[:, 0].sum(), (A, b), retain_graph=True) for h in (f, g)]
    even = torch.full_like(b, 1 / b.shape[-1])
    (by_rows, of_rows), (by_targets, of_targets) = (
        (mean_norm(p - q), float(torch.cosine_similarity(p, q).mean()))
        for p, q in ((p.flatten(1), q.flatten(1)) for p, q in zip(*D, strict=True))
    )
    with torch.no_grad():
        return Closeness(
            descent=float(loss_of(g, b)),
            attention=float(loss_of(f, b)),
            nothing=float(loss_of(even, b)),
            predictions=mean_norm(f - g),
            moved=mean_norm(g - even),
            rows=by_rows,
            rows_cosine=of_rows,
            targets=by_targets,
            targets_cosine=of_targets,
        )


def mean_norm(x: Any) -> float:
    """The mean of the norms of the rows.

    >>> mean_norm(np.array([[3.0, 4.0], [0.0, 1.0]]))
    3.0
    """
    return float((ops.asum(x * x) ** 0.5).mean())
