"""What `inspect` returns: rows of heads, their verdicts, their kernels and proofs when asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from dsf.claims.reading import require
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError, DTypeError, UnknownNameError
from dsf.core.optional import pandas
from dsf.core.result import Checkable, Result, Section
from dsf.jacobians.linearise import Kernel
from dsf.models import printing
from dsf.models.agreement import agrees, layer_agrees
from dsf.models.head import Head
from dsf.models.layers import Row
from dsf.models.verdict import Verdict, judge
from dsf.states import Realization, realize

Place = tuple[str, int, int]  # module, call, head
LayerProof = Realization | Certificate


@dataclass(frozen=True, repr=False)
class Inspection(Result):
    """The heads and other layers of a model on some inputs: what `dsf.inspect` returns.

    rows       one per head, probe and sequence
    layers     one per recurrence, convolution or other layer that mixes tokens, probe and sequence;
               where there is none of either, the model as a whole
    rtol       the errors, relative to |M|_2; the smallest one decides
    budget     the most states of a head that is called recurrent
    proofs     one per row that was counted and error, if they were kept;   layer_proofs   those
               of each layer
    notes      what stands in the way of more
    """

    rows: tuple[Head, ...]
    rtol: tuple[float, ...]
    budget: int
    proofs: tuple[Realization, ...] | None = None
    notes: tuple[str, ...] = ()
    time_limit: float = 10.0
    layers: tuple[Row, ...] = ()
    layer_proofs: tuple[tuple[LayerProof, ...], ...] = ()
    again: Callable[[Head | Row], np.ndarray] | None = field(default=None, compare=False)

    @cached_property
    def heads(self) -> dict[Place, tuple[Head, ...]]:
        """The rows of each head, in the order of the model."""
        found: dict[Place, list[Head]] = {}
        for row in self.rows:
            found.setdefault(row.place, []).append(row)
        return {place: tuple(rows) for place, rows in found.items()}

    @cached_property
    def verdicts(self) -> dict[Place, Verdict]:
        """keep, window or recurrent(n) for each head, by the rule of `Verdict`."""
        return {p: judge(rows, min(self.rtol), self.budget) for p, rows in self.heads.items()}

    @property
    def probes(self) -> tuple[str, ...]:
        """The names of the inputs."""
        names = [row.probe for row in self.rows] + [row.probe for row in self.layers]
        return tuple(dict.fromkeys(names))

    def row(
        self, module: str, head: int = 0, *, probe: str | None = None, sequence: int = 0,
        call: int = 0,
    ) -> Head:  # fmt: skip
        """The row of a head; of the first probe unless one is named. UnknownNameError."""
        wanted = self.probes[0] if probe is None and self.probes else probe
        for row in self.rows:
            if (row.place, row.probe, row.sequence) == ((module, call, head), wanted, sequence):
                return row
        names = list(dict.fromkeys(row.module for row in self.rows))
        raise UnknownNameError(
            f"inspect: no row of {module!r}, head {head}, call {call}, probe {wanted}, sequence "
            f"{sequence}; modules are {', '.join(map(repr, names[:8]))}"
            f"{', ..' if len(names) > 8 else ''}; probes are {', '.join(self.probes)}"
            f"{'; rows of other layers are in .layers' if self.layers else ''}"
        )

    def kernel(self, row: Head | Row) -> Kernel:
        """The weights of a head [L 1 L 1] or the Jacobian of a layer [L r L d]; runs the model.

        It has `.matrix`, `.leak`, `.influence()` and `.hankel_singular_values(k)`.
        Raises CertificateError if there is no model: the inspection was read from JSON.
        DTypeError for what is no row.
        """
        if not isinstance(row, (Head, Row)):
            raise DTypeError(
                "inspect: a kernel belongs to a row, such as found.row(module, head) or one of "
                f"found.layers; got {type(row).__name__}"
            )
        if self.again is None:
            raise CertificateError(
                "inspect: this inspection was read from JSON and knows no model, so no kernel can "
                "be computed. Inspect the model again"
            )
        K = self.again(row)
        sizes = np.linalg.norm(K, axis=(1, 3))
        peak = sizes.max(initial=0.0)
        return Kernel(K, float(np.triu(sizes, 1).max(initial=0.0) / peak) if peak else 0.0)

    def prove(self, row: Head) -> tuple[Realization, ...]:
        """Systems and certificates for a row, one per error: its weights are counted again."""
        return realize(self.kernel(row).matrix, rtol=self.rtol, time_limit=self.time_limit)

    @property
    def certificates(self) -> tuple[Checkable, ...]:
        """The certificates of all counts; computed again where they were not kept.

        Raises CertificateError where that is not possible, or where counts contradict the rows.
        """
        return tuple(c for proof in self._all() for c in _certificates(proof))

    def check(self) -> bool:
        """Recompute every count from its certificate; True, or CertificateError.

        Also that each row says what its proofs say: counts, windows, what looks ahead, and where
        a head looks, measured again on the weights that its proofs are about.  Names of modules,
        probes and tokens are not in a proof, nor is the share of `induction`.
        """
        return all(proof.check() for proof in self._all())

    def _all(self) -> Iterator[LayerProof]:
        """The proofs one by one, after a look whether they say what the rows say."""
        each = len(self.rtol)
        counted = [row for row in self.rows if row.states]
        fits = self.proofs is None or len(self.proofs) == each * len(counted)
        require(fits, f"inspect: {len(counted)} rows at {each} errors need as many proofs")
        require(len(self.layers) == len(self.layer_proofs), "inspect: each layer has its proofs")
        for i, row in enumerate(counted):
            kept = None if self.proofs is None else self.proofs[i * each : (i + 1) * each]
            proofs = self.prove(row) if kept is None else kept
            agrees(row, proofs, self.rtol, self.time_limit, kept is not None)
            yield from proofs
        for layer, found in zip(self.layers, self.layer_proofs, strict=True):
            layer_agrees(layer, found, self.rtol)
            yield from found

    # ------------------------------------------------------------------ shown and kept
    def headline(self) -> tuple[str, str]:
        return printing.headline(self), printing.outcome(self)

    def sections(self) -> Sequence[Section]:
        return printing.sections(self)

    def plot(self, *heads: Head) -> Any:
        """Maps of the states that suffice, layer by head; with rows, their spectra and kernels.

        Returns a figure of matplotlib.
        """
        from dsf.models.plots import plot

        return plot(self, heads)

    def to_pandas(self) -> Any:
        """One line per head, probe and sequence, with the head's verdict; needs pandas.

        Layers that are no attention follow, with what is known of them.
        """
        lines: list[dict[str, Any]] = []
        for row in self.rows:
            line = {k: v for k, v in row.to_data().items() if k not in TABLES}
            for e, (low, high) in row.states.items():
                slope = row.slope(e)
                line |= {f"necessary_{e:g}": low, f"sufficient_{e:g}": high}
                line |= {f"tolerance_{e:g}": row.tolerance[e], f"window_{e:g}": row.window[e]}
                line |= {} if slope is None else {f"slope_{e:g}": slope}
            line |= {f"distance to {name}": x for name, x in row.distances.items()}
            line |= {"closest": row.closest, "verdict": str(self.verdicts[row.place])}
            lines.append(line)
        for layer in self.layers:
            line = {k: v for k, v in layer.to_data().items() if k not in TABLES}
            for e, (low, high) in layer.states.items():
                line |= {f"necessary_{e:g}": low, f"sufficient_{e:g}": high}
            lines.append(line)
        return pandas("Inspection.to_pandas").DataFrame(lines)

    def to_data(self) -> dict[str, Any]:
        proofs = None if self.proofs is None else [p.to_data() for p in self.proofs]
        return {
            "rows": [row.to_data() for row in self.rows], "rtol": list(self.rtol),
            "budget": self.budget, "notes": list(self.notes), "time_limit": self.time_limit,
            "proofs": proofs, "layers": [row.to_data() for row in self.layers],
            "layer_proofs": [[[isinstance(p, Certificate), p.to_data()] for p in found]
                             for found in self.layer_proofs],
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        proofs = data["proofs"]
        return cls(
            tuple(Head.from_data(row) for row in data["rows"]), tuple(map(float, data["rtol"])),
            int(data["budget"]),
            None if proofs is None else tuple(Realization.from_data(p) for p in proofs),
            tuple(map(str, data["notes"])), float(data["time_limit"]),
            tuple(Row.from_data(row) for row in data["layers"]),
            tuple(tuple(_read(*p) for p in found) for found in data["layer_proofs"]),
        )  # fmt: skip


TABLES = {"states", "prefixes", "tolerance", "window", "distances", "spectrum"}


def _certificates(proof: LayerProof) -> tuple[Checkable, ...]:
    return proof.certificates if isinstance(proof, Realization) else (proof,)


def _read(plain: bool, data: Mapping[str, Any]) -> LayerProof:
    return Certificate.from_json(json.dumps(data)) if plain else Realization.from_data(data)
