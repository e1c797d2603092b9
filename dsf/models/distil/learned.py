"""What a distillation with inputs returns: an instance of the catalogue, and how near it comes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsf.claims.reading import require
from dsf.core.arrays import to_numpy
from dsf.core.catalogue import family, family_of
from dsf.core.certificate import Certificate, decode, encode
from dsf.core.errors import ShapeError
from dsf.core.mechanism import Mechanism
from dsf.core.printing import at_least
from dsf.core.result import Checkable, Item, Result, Rows, Section, Text
from dsf.models.distil import fla
from dsf.models.distil.student import kernels

SCOPE = (
    "Errors are Frobenius norms strictly below the diagonal over that of the kernels, on the "
    "sequences of the fit alone; .error(kernels, inputs) is that on others. The floor is proved "
    "for these sequences, for recurrences that may differ from one to the next."
)


@dataclass(frozen=True, eq=False, repr=False)
class Learned(Result):
    """What `distil` returns of kernels [B L L] with inputs [B L d]: an instance with one head.

    start, instance   where the fit started, and where it ended
    floors            a certificate for each sequence
    inputs            [B L d];   loss, started   what was asked
    """

    start: Mechanism
    instance: Mechanism
    floors: tuple[Certificate, ...]
    inputs: np.ndarray
    loss: str
    started: str

    @property
    def targets(self) -> np.ndarray:
        """The kernels [B L L] that were given."""
        return np.stack([np.asarray(c.witnesses["M"]) for c in self.floors])

    @property
    def floor(self) -> float:
        """The proved lower bound of the error on all sequences together."""
        squares = [np.sum(np.tril(M, -1) ** 2) for M in self.targets]
        proved = [float(c.lower or 0.0) ** 2 for c in self.floors]
        whole = float(np.sum(squares)) or 1.0
        return float(np.sqrt(np.dot(proved, squares) / whole)) * (1 - 1e-12)

    def error(self, kernel: Any, inputs: Any, mech: Mechanism | None = None) -> float:
        """|M^ - M|_F / |M|_F strictly below the diagonal, over kernels [B L L] on inputs [B L d].

        Of the instance, or of another one with its width.  Raises ShapeError.
        """
        M, u = np.asarray(kernel, dtype=np.float64), np.asarray(inputs, dtype=np.float64)
        M, u = (x if x.ndim == 3 else x[None] for x in (M, u))
        if M.ndim != 3 or u.ndim != 3 or M.shape[:2] != u.shape[:2]:
            raise ShapeError(
                f"error: kernels [B L L] need inputs [B L d]; got {M.shape}, {u.shape}"
            )
        gap = np.tril(kernels(mech or self.instance, u) - M, -1)
        return float(np.linalg.norm(gap) / (np.linalg.norm(np.tril(M, -1)) or 1.0))

    def to_fla(self, inputs: Any = None) -> dict[str, Any]:
        """The parameters under the names that a layer of flash-linear-attention gives them.

        With inputs [L d] or [B L d] the arguments of its kernel instead, with our values: its
        output is that of the instance.  Which layer, which kernel, and what a layer does besides:
        `dsf.models.distil.fla`.  Output gates, norms and projections are left out, and so are the
        rows of Mamba2's in_proj.weight for its gate.  Raises UnknownNameError for a class without
        such a layer, or whose tokens no kernel there takes; ShapeError for other inputs.
        """
        if inputs is None:
            return fla.parameters(self.instance)
        u = np.asarray(to_numpy(inputs), dtype=np.float64)
        if u.ndim not in (2, 3) or u.shape[-1] != self.inputs.shape[-1]:
            raise ShapeError(
                f"to_fla: inputs must be [L {self.inputs.shape[-1]}] or with a batch; got {u.shape}"
            )
        return fla.arguments(
            self.instance.name, self.instance.tokens(u if u.ndim == 3 else u[None])
        )

    @property
    def certificates(self) -> tuple[Checkable, ...]:
        return self.floors

    def check(self) -> bool:
        """Recompute the floors; the error of the instance is not below them."""
        super().check()
        found = self.error(self.targets, self.inputs)
        require(found >= self.floor, f"an error of {found:.6g} is below the floor {self.floor:.6g}")
        return True

    def headline(self) -> tuple[str, str]:
        n, (B, L, _) = self.instance.sizes.get("n", 0), self.inputs.shape
        name = repr(family_of(self.instance))
        return f"{name} with {n} states, of {B} kernel{'s' * (B > 1)} [{L} {L}]", "floors enclosed"

    def sections(self) -> Sequence[Section]:
        M, u = self.targets, self.inputs
        rows = [
            ("floor", f"error >= {at_least(self.floor, 3)}"),
            ("start", f"{self.started}: error {self.error(M, u, self.start):.4g}"),
            ("fitted", f"error {self.error(M, u):.4g} (loss: {self.loss})"),
        ]
        return [Rows(rows), Text([Item(SCOPE)])]

    def to_data(self) -> dict[str, Any]:
        return {
            "family": repr(family_of(self.instance)),
            "start": {k: encode(x) for k, x in self.start.parameters().items()},
            "instance": {k: encode(x) for k, x in self.instance.parameters().items()},
            "floors": [c.to_data() for c in self.floors],
            "inputs": encode(self.inputs), "loss": self.loss, "started": self.started,
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Learned:
        bare = family(data["family"]).without_parameters()
        start, instance = (
            replace(bare, **{k: decode(x) for k, x in data[name].items()})
            for name in ("start", "instance")
        )
        floors = tuple(Certificate.from_json(json.dumps(c)) for c in data["floors"])
        inputs = decode(data["inputs"])
        return cls(start, instance, floors, inputs, str(data["loss"]), str(data["started"]))
