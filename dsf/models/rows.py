"""A row for each attention head of a run: how many states it needs, and what it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.core.optional import pandas
from dsf.core.result import Checkable, Item, Result, Section, Text
from dsf.models.capture import Call, run
from dsf.states import Realization, realize

CUTS = 16  # at which effective state sizes are averaged
NEAR = 32  # tokens of the window whose share is told
RTOL = (0.1, 0.01)
FEW = 40  # rows that are printed
SCOPE = (
    "Counts hold for these inputs alone: a linear recurrence whose coefficients may depend on the "
    "whole input, relative errors in the operator norm. A text says little of heads that retrieve; "
    "give a repeated random sequence as well."
)


@dataclass(frozen=True)
class Head:
    """One head on one sequence; fields that could not be measured are None and `note` says why.

    states     relative error: (necessary, sufficient), each proved
    tolerance  relative error: mean number of singular values above it over 16 cuts (ESS)
    entropy    mean exponential entropy of the singular values over the same cuts (ESS)
    rank       |M|_F^2 / |M|_2^2, the stable rank
    sink, previous     mean weight of token 0 in the later half, and of the token before
    spread     mean entropy of a row, in nats
    horizon    mean distance to what is looked at;   near   share of the last 32 tokens
    leak       (i, j): row i gives its largest weight on later tokens to j; None if causal
    """

    module: str
    head: int
    kind: str
    width: int
    group: int
    tokens: int
    note: str = ""
    states: dict[float, tuple[int, int]] = field(default_factory=dict)
    tolerance: dict[float, float] = field(default_factory=dict)
    entropy: float | None = None
    rank: float | None = None
    sink: float | None = None
    previous: float | None = None
    spread: float | None = None
    horizon: float | None = None
    near: float | None = None
    leak: tuple[int, int] | None = None


@dataclass(frozen=True, repr=False)
class Heads(Result):
    """What `heads` returns: its rows, and the proofs of their counts."""

    rows: tuple[Head, ...]
    rtol: tuple[float, ...]
    proofs: tuple[Realization, ...]

    def headline(self) -> tuple[str, str]:
        modules = len({h.module for h in self.rows})
        return f"{len(self.rows)} attention heads in {modules} modules", "enclosed"

    def sections(self) -> Sequence[Section]:
        counted = [h for h in self.rows if h.states]
        items = [Item(line) for line in self._summary(counted)]
        shown = sorted(counted, key=lambda h: -h.states[self.rtol[0]][1])[:FEW]
        table = [_line(h, self.rtol) for h in shown]
        if len(shown) < len(counted):
            table.append(f"{len(counted) - len(shown)} more rows, with fewer states: .to_pandas()")
        notes = [Item(f"{h.module or 'model'} head {h.head}: {h.note}", 2, 4)
                 for h in self.rows if h.note]  # fmt: skip
        return [Text(items), _Table((_head(self.rtol), *table)), Text(notes, "notes"),
                Text([Item(SCOPE)])]  # fmt: skip

    def _summary(self, counted: list[Head]) -> list[str]:
        if not counted:
            return ["no head could be counted"]
        lines = []
        for e in self.rtol:
            low, high = (np.array([h.states[e][i] for h in counted]) for i in (0, 1))
            lines.append(
                f"error {e:g} |M|: {low.min()} to {high.max()} states, median "
                f"{np.median(low):g} to {np.median(high):g}"
            )
        leaks = sum(h.leak is not None for h in self.rows)
        return [*lines, f"{leaks} heads look at later tokens"] if leaks else lines

    @property
    def certificates(self) -> tuple[Checkable, ...]:
        return tuple(c for p in self.proofs for c in p.certificates)

    def to_pandas(self) -> Any:
        """One row per head; needs pandas."""
        rows = [asdict(h) for h in self.rows]
        for row, h in zip(rows, self.rows, strict=True):
            for e, (low, high) in h.states.items():
                row |= {f"necessary_{e:g}": low, f"sufficient_{e:g}": high}
            row |= {f"tolerance_{e:g}": x for e, x in h.tolerance.items()}
            del row["states"], row["tolerance"]
        return pandas("Heads.to_pandas").DataFrame(rows)

    def to_data(self) -> dict[str, Any]:
        rows = [asdict(h) for h in self.rows]
        for row in rows:
            for name in ("states", "tolerance"):
                row[name] = [[e, x] for e, x in row[name].items()]
        return {"rows": rows, "rtol": list(self.rtol), "proofs": [p.to_data() for p in self.proofs]}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Heads:
        rows = []
        for row in data["rows"]:
            states = {float(e): (int(x[0]), int(x[1])) for e, x in row["states"]}
            leak = None if row["leak"] is None else (int(row["leak"][0]), int(row["leak"][1]))
            tolerance = {float(e): float(x) for e, x in row["tolerance"]}
            rows.append(Head(**{**row, "states": states, "tolerance": tolerance, "leak": leak}))
        proofs = tuple(Realization.from_data(p) for p in data["proofs"])
        return cls(tuple(rows), tuple(map(float, data["rtol"])), proofs)


def heads(
    model: Any, *inputs: Any, rtol: Sequence[float] = RTOL, sequence: int = 0,
    time_limit: float = 10.0, **named: Any,
) -> Heads:  # fmt: skip
    """How many states each attention head of a model needs on these inputs, with proof.

        necessary = max_k #{j : sigma_j(M[k:, :k]) > rtol |M|}  <=  states  <=  sufficient

    M [L L] are the weights of a head on one sequence of the batch.  The model, a torch module or a
    function, is called once as model(*inputs, **named), in evaluation mode and without gradients;
    heads are found by the functions of torch that it calls (`dsf.models.capture`), one at a time:
    memory for one M.  `time_limit` seconds for each head.  Heads that look at later tokens are
    counted in both directions together.  Raises DomainError if the model calls no attention,
    ShapeError for a sequence that is not there, DTypeError.
    Source of the counts: `dsf.realize`; effective state size: arXiv 2504.19561.

    >>> import torch
    >>> layer = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    >>> x = torch.zeros(1, 6, 4)
    >>> found = heads(lambda x: layer(x, x, x)[0], x)
    >>> len(found.rows), found.rows[0].states[0.1], found.check()
    (2, (2, 2), True)
    """
    rows: list[Head] = []
    proofs: list[Realization] = []
    errors = tuple(map(float, rtol))

    def visit(call: Call) -> None:
        if not 0 <= sequence < call.batch:
            raise ShapeError(
                f"heads: sequence {sequence} is not there; {call.module or 'the model'} was called "
                f"with {call.batch}"
            )
        for head in range(call.heads):
            row, found = _row(call, head, sequence, errors, time_limit)
            rows.append(row)
            proofs.extend(found)

    run(model, inputs, named, visit)
    if not rows:
        raise DomainError(
            "heads: the model called no attention. Likely cause: a recurrent model, a convolution, "
            "or a kernel outside torch. Use dsf.inspect(module, u) for a module as a whole."
        )
    return Heads(tuple(rows), errors, tuple(proofs))


def _row(
    call: Call, head: int, sequence: int, rtol: tuple[float, ...], time_limit: float
) -> tuple[Head, tuple[Realization, ...]]:
    M = call.weights(head, sequence)
    about: dict[str, Any] = {
        "module": call.module, "head": head, "kind": call.kind, "width": call.width,
        "group": head * call.groups // call.heads, "tokens": len(M),
    }  # fmt: skip
    if M.shape[0] != M.shape[1]:
        note = f"{M.shape[0]} queries on {M.shape[1]} keys: no map of a sequence to itself"
        return Head(**about, note=note), ()
    if not np.isfinite(M).all():
        return Head(**about, note="weights are not finite"), ()
    blind = int(np.sum(M.sum(1) == 0))
    note = f"{blind} of {len(M)} tokens see nothing" if blind else ""
    found = realize(M, rtol=rtol, time_limit=time_limit)
    states = {e: (f.lower, f.upper) for e, f in zip(rtol, found, strict=True)}
    measured = {"states": states, **_sizes(M, rtol), **_looks(M)}
    return Head(**about, note=note, **measured), found


def _sizes(M: np.ndarray, rtol: tuple[float, ...]) -> dict[str, Any]:
    L = len(M)
    norm = float(np.linalg.norm(M, 2))
    cuts = np.unique(np.linspace(1, L - 1, CUTS).astype(int)) if L > 1 else np.zeros(0, int)
    spectra = [np.linalg.svd(M[c:, :c], compute_uv=False) for c in cuts]
    entropy = []
    for s in spectra:
        p = s[s > 0] / max(s.sum(), np.finfo(float).tiny)
        entropy.append(float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0)
    return {
        "tolerance": {e: float(np.mean([int(np.sum(s > e * norm)) for s in spectra] or [0]))
                      for e in rtol},
        "entropy": float(np.mean(entropy or [0.0])),
        "rank": float(np.sum(M * M)) / norm**2 if norm else 0.0,
    }  # fmt: skip


def _looks(M: np.ndarray) -> dict[str, Any]:
    L = len(M)
    i, j = np.indices(M.shape)
    above = np.where(j > i, M, 0.0)
    worst = np.unravel_index(int(above.argmax()), M.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(M > 0, np.log(M), 0.0)
    return {
        "sink": float(M[L // 2 :, 0].mean()),
        "previous": float(np.diagonal(M, -1).mean()) if L > 1 else None,
        "spread": float(-(M * logs).sum(1).mean()),
        "horizon": float((M * np.abs(i - j)).sum(1).mean()),
        "near": float(np.where(np.abs(i - j) < NEAR, M, 0.0).sum(1).mean()),
        "leak": (int(worst[0]), int(worst[1])) if above.max(initial=0.0) > 0 else None,
    }


# ---------------------------------------------------------------------- printing
@dataclass(frozen=True)
class _Table:
    """Lines that are already set."""

    rows: tuple[str, ...]

    def lines(self) -> list[str]:
        return list(self.rows)

    def html(self) -> str:
        return f"<pre>{escape(chr(10).join(self.rows))}</pre>"


def _head(rtol: tuple[float, ...]) -> str:
    counts = "".join(f"{f'at {e:g}':>10}" for e in rtol)
    return f"{'module':27}{'head':>5}{counts}{'sink':>6}{'prev':>6}{'dist':>7}{'ESS':>7}"


def _line(h: Head, rtol: tuple[float, ...]) -> str:
    counts = "".join(f"{_span(h.states[e]):>10}" for e in rtol)
    previous = 0.0 if h.previous is None else h.previous
    name = h.module if len(h.module) <= 26 else "..." + h.module[-23:]
    return (
        f"{name or 'model':27}{h.head:>5}{counts}{h.sink:>6.2f}{previous:>6.2f}{h.horizon:>7.1f}"
        f"{h.entropy:>7.1f}"
    )


def _span(states: tuple[int, int]) -> str:
    low, high = states
    return str(low) if low == high else f"{low}..{high}"
