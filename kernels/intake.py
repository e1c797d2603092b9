"""The arguments of a kernel: one world, one dtype, shapes that fit, a batch axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.core.arrays import at_least_float32, common_dtype, is_half
from dsf.core.errors import DTypeError, ShapeError
from dsf.core.ops import is_complex
from dsf.core.worlds import is_torch

WIDE = ("state", "log_decay", "A", "D", "bonus")  # sums and their like: at least float32


class Call:
    """Named arrays of one call.  `axes` declares their axes and checks the sizes.

    Axes left of time are flattened to one batch axis B, in which sizes of 1 are shared.  With
    `keep` the arrays stay in half precision where all but those of WIDE are; else they are float32.
    """

    def __init__(self, who: str, *, keep: bool = False, **arrays: Any) -> None:
        self.who = who
        given = {k: x for k, x in arrays.items() if x is not None}
        self.torch = any(map(is_torch, given.values()))
        given = {k: self._array(k, x) for k, x in given.items()}
        narrow = {k: x for k, x in given.items() if k not in WIDE}
        self.half = all(map(is_half, narrow.values()))
        self.dtypes = {k: x.dtype for k, x in given.items()}
        wide = {k: at_least_float32(x) for k, x in given.items()}
        self.dtype = common_dtype(*wide.values())
        self.arrays = {k: self._cast(x) for k, x in wide.items()}
        if keep and self.half:
            kind = next(iter(narrow.values())).dtype
            self.arrays |= {k: x.to(kind) for k, x in narrow.items()}
        self.sizes: dict[str, int] = {}
        self.batch: tuple[int, ...] = ()
        self.lead: dict[str, int] = {}

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def _array(self, name: str, x: Any) -> Any:
        if self.torch != is_torch(x):
            raise DTypeError(
                f"{self.who}: tensors and numpy arrays are mixed ({name} is "
                f"{type(x).__name__}). Give one kind."
            )
        if self.torch:
            return x if x.is_floating_point() or x.is_complex() else x.double()
        x = np.asarray(x)
        if x.dtype.kind not in "iufc":
            raise DTypeError(f"{self.who}: {name} must hold numbers; got dtype {x.dtype}")
        return x if x.dtype.kind in "fc" else x.astype(np.float64)

    def _cast(self, x: Any) -> Any:
        return x.to(self.dtype) if self.torch else x.astype(self.dtype, copy=False)

    # ------------------------------------------------------------------ shapes
    def axes(self, **spec: str) -> None:
        """Check that arrays have these axes, and note the sizes of the letters."""
        for name, text in spec.items():
            if name not in self.arrays:
                continue
            letters, shape = text.split(), tuple(self.arrays[name].shape)
            free = letters[0] == "..."
            letters = letters[free:]
            fits = len(shape) >= len(letters) if free else len(shape) == len(letters)
            if not fits:
                self._refuse(name, text, shape)
            for letter, size in zip(letters, shape[len(shape) - len(letters) :], strict=True):
                if self.sizes.setdefault(letter, size) != size:
                    self._refuse(name, text, shape)
            if free:
                self.lead[name] = len(shape) - len(letters)
                lead = shape[: self.lead[name]]
                try:
                    self.batch = np.broadcast_shapes(self.batch, lead)
                except ValueError:
                    self._refuse(name, text, shape)

    def grouped_heads(self) -> None:
        """Check that the heads of keys, G, divide those of queries, H."""
        H, G = self.sizes["H"], self.sizes["G"]
        if H % max(G, 1) or (G == 0 and H):
            raise ShapeError(f"{self.who}: {G} heads of keys do not divide {H} heads of queries")

    def real_logits(self) -> None:
        if any(map(is_complex, self.arrays.values())):
            raise DTypeError(f"{self.who}: complex logits have no largest one; give real arrays")

    def _refuse(self, name: str, text: str, shape: tuple[int, ...]) -> None:
        known = ", ".join(f"{k} = {n}" for k, n in self.sizes.items())
        raise ShapeError(
            f"{self.who}: {name} must be [{text}]{f' with {known}' if known else ''}"
            f"{f', batch {list(self.batch)}' if self.batch else ''}; got {list(shape)}. Heads "
            "stand right of time here: [batch, tokens, heads, channels]."
        )

    def rows(self, name: str) -> Any:
        """An array with its batch axes as one: [B L H K]."""
        return self.flat(self.arrays[name], self.lead[name])

    def flat(self, x: Any, lead: int) -> Any:
        tail = tuple(x.shape[lead:])
        x = self._expand(x, (*self.batch, *tail))
        return x if len(self.batch) == 1 else x.reshape(math.prod(self.batch), *tail)

    def _expand(self, x: Any, shape: tuple[int, ...]) -> Any:
        if tuple(x.shape) == shape:
            return x
        return x.expand(shape) if self.torch else np.broadcast_to(x, shape)

    def zeros(self, *shape: int) -> Any:
        like = next(iter(self.arrays.values()))
        if self.torch:
            return like.new_zeros(shape, dtype=self.dtype)
        return np.zeros(shape, self.dtype)

    def state(self, axes: str = "H K V") -> Any:
        """The state before the first token [B H K V]; zero where none is given."""
        if "state" in self.arrays:
            return self.rows("state")
        return self.zeros(math.prod(self.batch), *(self.sizes[x] for x in axes.split()))

    def log_decay(self, steps: str) -> bool | None:
        """Whether there is a log-decay for each channel, for each head, or none (None)."""
        if "log_decay" not in self.arrays:
            return None
        full = bool(self.arrays["log_decay"].ndim == self.arrays["q"].ndim)
        self.axes(log_decay=f"... {steps} H K" if full else f"... {steps} H")
        return full

    def decays(self, full: bool | None, steps: str = "L", one: bool = False) -> Any:
        """exp(log_decay) [B L H K]: one number for a head stands for all its channels.

        With `one` such numbers are [B L H 1].
        """
        B, sizes = math.prod(self.batch), self.sizes
        shape = (B, sizes[steps], sizes["H"], 1 if one and not full else sizes["K"])
        if full is None:
            return self._expand(self.zeros(1, 1, 1, 1) + 1, shape)
        log = self.rows("log_decay")
        w = log.exp() if self.torch else _exp(log)
        return w if full else self._expand(w[..., None], shape)

    def logs(self, full: bool | None) -> Any:
        """The log-decays [B L H K], [B L H 1], or [B L H 0] where there are none."""
        if full is None:
            return self.zeros(math.prod(self.batch), self.sizes["L"], self.sizes["H"], 0)
        log = self.rows("log_decay")
        return log if full else log[..., None]

    # ----------------------------------------------------------------- outputs
    def output(self, y: Any) -> Any:
        """The output with the batch axes of the inputs, in half precision where they all were."""
        y = y.reshape(*self.batch, *y.shape[1:])
        if not self.half:
            return y
        kinds = [x for k, x in self.dtypes.items() if k not in WIDE]
        return y.to(kinds[0]) if self.torch else y.astype(kinds[0])

    def last(self, S: Any) -> Any:
        """The last state with the batch axes of the inputs."""
        return S.reshape(*self.batch, *S.shape[1:])


def _exp(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        w: np.ndarray = np.exp(x)
    return w
