"""Small models of one kind of mixer, trained on recall, on tracking and on regression in context.

A model is h = x E + positions, then h + mixer(h / |h|) for each layer, then h O: no hidden layer,
no convolution.  All tasks give x [B L f]; a task with classes gives their numbers [B L], -1 where
nothing is asked, regression gives numbers [B L p].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dsf.core.catalogue import family
from dsf.solvers.local_linear.experiments import segments

Array = np.ndarray


class Batch(NamedTuple):
    """Inputs [B L f], float32, and what is asked of each token."""

    x: Array
    y: Array


@dataclass(frozen=True)
class Recall:
    """Pairs of a key and a value, each pair one token, then every key once more, in random order.

    >>> b = Recall(keys=8, values=4, pairs=3).draw(np.random.default_rng(0), 2)
    >>> b.x.shape, b.y[0].tolist()[:3]
    ((2, 6, 12), [-1, -1, -1])
    """

    keys: int = 64
    values: int = 16
    pairs: int = 16

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(L, f, classes)."""
        return 2 * self.pairs, self.keys + self.values, self.values

    def draw(self, rng: np.random.Generator, batch: int) -> Batch:
        n = self.pairs
        keys = rng.permuted(np.tile(np.arange(self.keys), (batch, 1)), axis=1)[:, :n]
        values = rng.integers(0, self.values, (batch, n))
        order = rng.permuted(np.tile(np.arange(n), (batch, 1)), axis=1)
        asked = np.take_along_axis(keys, order, 1)
        x = np.zeros((batch, *self.sizes[:2]), np.float32)
        rows = np.arange(batch)[:, None]
        x[rows, np.arange(n), keys] = 1
        x[rows, np.arange(n), self.keys + values] = 1
        x[rows, n + np.arange(n), asked] = 1
        hidden = np.full((batch, n), -1)
        return Batch(x, np.concatenate([hidden, np.take_along_axis(values, order, 1)], 1))


@dataclass(frozen=True)
class Tracking:
    """Swaps of two of `places` places: where is what lay in the first place?

    >>> b = Tracking(places=3, length=4).draw(np.random.default_rng(0), 2)
    >>> b.x.shape, int(b.y.min()) >= 0
    ((2, 4, 3), True)
    """

    places: int = 3
    length: int = 16

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(L, f, classes)."""
        return self.length, self.places * (self.places - 1) // 2, self.places

    def draw(self, rng: np.random.Generator, batch: int) -> Batch:
        L, f, _ = self.sizes
        pairs = np.array(np.triu_indices(self.places, 1)).T
        swaps = rng.integers(0, f, (batch, L))
        place, y = np.zeros(batch, int), np.zeros((batch, L), int)
        for t in range(L):
            a, b = pairs[swaps[:, t]].T
            place = np.where(place == a, b, np.where(place == b, a, place))
            y[:, t] = place
        return Batch(np.eye(f, dtype=np.float32)[swaps], y)


@dataclass(frozen=True)
class Regression:
    """`experiments.segments`: token t holds k_t, and k_{t-1} with its value; asked is v_t.

    >>> b = Regression(S=4, length=8, d=3, p=2).draw(np.random.default_rng(0), 2)
    >>> b.x.shape, b.y.shape
    ((2, 8, 8), (2, 8, 2))
    """

    S: int = 32
    length: int = 64
    d: int = 8
    p: int = 4

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(L, f, p)."""
        return self.length, 2 * self.d + self.p, self.p

    def draw(self, rng: np.random.Generator, batch: int) -> Batch:
        seeds = rng.integers(0, 2**31, batch)
        streams = [segments(int(s), self.S, self.length, self.d, self.p) for s in seeds]
        k, v = (np.stack(z).astype(np.float32) for z in zip(*streams, strict=True))
        pairs = np.concatenate([k, v], 2)
        before = np.zeros_like(pairs)
        before[:, 1:] = pairs[:, :-1]
        return Batch(np.concatenate([k, before], 2), v)


MIXERS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}), "lla": ("lla", {}), "linear": ("linear_attn", {}),
    "deltanet": ("deltanet", {}), "deltanet to -1": ("deltanet", {"reach": 2}),
    "gated deltanet": ("gated_deltanet", {}), "mesa": ("mesa", {}),
}  # fmt: skip
TASKS = {"recall": Recall, "tracking": Tracking, "regression": Regression}


def train(
    mixer: str, task: Any, steps: int, every: int, *, width: int = 16, heads: int = 2,
    layers: int = 2, batch: int = 32, rate: float = 1e-2, seed: int = 0, tests: int = 256,
) -> list[tuple[int, Array]]:  # fmt: skip
    """(step, scores [L]) at every `every` steps: what each position gets right on new data.

    Scores are shares of right answers (nan where nothing is asked), or squared errors over the
    mean square of what is asked.  Adam, the rate falls to 0 along a cosine; float32.
    """
    import torch

    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    test = task.draw(np.random.default_rng(seed + 10_000), tests)
    L, f, out = task.sizes
    name, options = MIXERS[mixer]
    mixers = [
        family(name)(**options).to_torch(
            d=width, n=width // heads, p=width // heads, heads=heads, seed=s
        )
        for s in range(seed, seed + layers)
    ]
    ends = {
        end: (torch.randn(*shape, generator=generator) * size).requires_grad_()
        for end, shape, size in (
            ("E", (f, width), f**-0.5), ("P", (L, width), 0.1), ("O", (width, out), width**-0.5)
        )
    }  # fmt: skip
    weights = [*ends.values(), *(w for m in mixers for w in m.parameters())]
    adam = torch.optim.Adam(weights, rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))

    def model(x: Any) -> Any:
        h = x @ ends["E"] * f**0.5 + ends["P"]
        for m in mixers:
            h = h + m(torch.nn.functional.rms_norm(h, h.shape[-1:])).reshape(h.shape)
        return torch.nn.functional.rms_norm(h, h.shape[-1:]) @ ends["O"]

    found = []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                found.append((step, scores(model(torch.from_numpy(test.x)).numpy(), test.y)))
        x, y = map(torch.from_numpy, task.draw(rng, batch))
        z = model(x)
        if y.ndim == 2:
            loss = torch.nn.functional.cross_entropy(z.mT, y, ignore_index=-1)
        else:
            loss = ((z - y) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
    return found


def scores(z: Array, y: Array) -> Array:
    """[L] from outputs [B L c] and what is asked.

    >>> scores(np.array([[[0.0, 1.0], [1.0, 0.0]]]), np.array([[1, 1]]))
    array([1., 0.])
    """
    if y.ndim == 3:
        return np.asarray(((z - y) ** 2).sum(-1).mean(0) / (y**2).sum(-1).mean())
    right = np.where(y < 0, np.nan, z.argmax(-1) == y)
    return np.asarray(np.where((y < 0).all(0), np.nan, right.mean(0)))
