"""Scan and Snap on sampled sequences: stochastic gradient ascent on decoder and attention.

The experiments "Syn-Small" and "Syn-Medium" of Tian et al. 2023 (arXiv 2305.16380): a batch draws
classes n uniformly and `length` contextual tokens from P(. | n); the class fixes the query m.

    f = w / |w|,  w = counts * e^{z_m},   alpha = softmax(Y' f)
    dY = mean f (e_n - alpha)',           dz_m = mean f * (P_perp Y (e_n - alpha))

The decoder has one output for every token of the vocabulary (contextual tokens, queries, next
tokens), as in the public code, not one for every class: most of the first steps go into silencing
the outputs that never occur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.core import ops
from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.solvers.dynamics.optimisers import Adam, Momentum
from dsf.solvers.dynamics.scan_snap import Classes, across, example
from dsf.solvers.svm.instances import log_softmax, unit
from dsf.solvers.svm.problem import Array

RULES = {"momentum": Momentum, "adam": Adam}
STARTS = ("zero", "linear")


@dataclass(frozen=True, eq=False)
class Task:
    """Classes with the query [K] of each, and the outputs of the decoder (class n is output n)."""

    classes: Classes
    query: Array
    outputs: int

    def __post_init__(self) -> None:
        K = len(self.classes.P)
        if self.query.shape != (K,) or self.outputs < K:
            raise ShapeError(
                f"Task: {K} classes need query [{K}] and at least {K} outputs; got "
                f"{list(self.query.shape)} and {self.outputs}"
            )

    @property
    def queries(self) -> int:
        """The number of queries."""
        return int(self.query.max()) + 1

    def attention(self, Z: Array) -> Array:
        """c_n [K tokens] at the logits Z [queries tokens]."""
        return self.classes.attention(Z[self.query])


def syn(queries: int = 2, per_query: int = 1) -> Task:
    """`queries` x `per_query` classes: ten common tokens of weight 1, ten own ones, 0.1 .. 1.

    `syn(2, 1)` is Syn-Small, `syn(queries, 2)` Syn-Medium.

    >>> task = syn()
    >>> P = task.classes.P
    >>> P.shape, task.outputs, round(float(P[0, :10].sum()), 6), round(float(P[0, 19]), 6)
    ((2, 30), 34, 0.645161, 0.064516)
    """
    K = queries * per_query
    classes = example(K, common=10, distinct=10)
    vocabulary = classes.P.shape[1] + queries + K
    return Task(classes, np.repeat(np.arange(queries), per_query), vocabulary)


@dataclass(frozen=True, eq=False)
class Run:
    """Loss [iterations] and attention c_n [iterations K tokens] at the iterations `at`.

    The loss is the one of the batch drawn at that iteration, before its step.
    """

    at: Array
    loss: Array
    attention: Array


def descend(
    task: Task,
    eta_Y: float,
    eta_Z: float,
    iterations: int,
    seed: int,
    rule: str = "momentum",
    start: str = "zero",
    every: int = 1,
    batch: int = 128,
    length: int = 127,
) -> Run:
    """Steps of `rule` on the mean log-likelihood of fresh batches; the data depend on `seed` only.

    `rule` is momentum (0.9) or adam; `start` is zero, or linear for both matrices uniform in
    +-1/sqrt(outputs); every `every`-th iteration is kept.  Raises DomainError for rates that are
    not positive, UnknownNameError for another rule or start.

    >>> run = descend(syn(), 1.0, 1.0, 20, seed=0)
    >>> mass = run.attention[:, 0, :10].sum(-1)
    >>> bool(mass[-1] < 0.75 * mass[0]), bool(abs(run.loss[0] - np.log(34)) < 1e-12)
    (True, True)
    """
    if eta_Y <= 0 or eta_Z <= 0:
        raise DomainError(f"descend: the rates must be positive, got {eta_Y} and {eta_Z}")
    if rule not in RULES or start not in STARTS:
        known = f"{', '.join(RULES)} / {', '.join(STARTS)}"
        raise UnknownNameError(f"descend: rule {rule!r} / start {start!r} is not one of {known}")
    P = task.classes.P
    rng = np.random.default_rng(seed)
    bound = 0.0 if start == "zero" else task.outputs**-0.5
    Y = rng.uniform(-bound, bound, (P.shape[1], task.outputs))
    Z = rng.uniform(-bound, bound, (task.queries, P.shape[1]))
    step_Y, step_Z = RULES[rule](), RULES[rule]()
    loss, attention = [], []
    for t in range(iterations + 1):
        n = rng.integers(len(P), size=batch)
        counts = rng.multinomial(length, P[n])
        value, dY, dZ = ascent(task, counts, n, Y, Z)
        if t % every == 0:
            loss.append(-value)
            attention.append(task.attention(Z))
        Y, Z = Y + eta_Y * step_Y(dY), Z + eta_Z * step_Z(dZ)
    return Run(np.arange(0, iterations + 1, every), np.array(loss), np.array(attention))


def ascent(task: Task, counts: Array, n: Array, Y: Array, Z: Array) -> tuple[float, Array, Array]:
    """Mean log-likelihood and its gradients in Y [tokens outputs] and Z [queries tokens].

    Counts [batch tokens] of contextual tokens, classes n [batch] of the sequences.

    >>> task, rng = syn(), np.random.default_rng(0)
    >>> n = np.array([0, 1, 1])
    >>> counts = rng.multinomial(20, task.classes.P[n])
    >>> Y, Z = rng.standard_normal((30, 34)), rng.standard_normal((2, 30))
    >>> e = np.zeros((2, 30)); e[1, 3] = 1e-6
    >>> up, down = (ascent(task, counts, n, Y, Z + s * e)[0] for s in (1, -1))
    >>> bool(abs(ascent(task, counts, n, Y, Z)[2][1, 3] - (up - down) / 2e-6) < 1e-8)
    True
    """
    m, sample = task.query[n], np.arange(len(n))
    f = unit(counts * ops.softmax(Z[m]))
    log_alpha = log_softmax(f @ Y)
    error = -np.exp(log_alpha)  # e_n - alpha
    error[sample, n] += 1
    dZ = np.zeros_like(Z)
    np.add.at(dZ, m, f * across(f, error @ Y.T) / len(n))
    return float(log_alpha[sample, n].mean()), f.T @ error / len(n), dZ
