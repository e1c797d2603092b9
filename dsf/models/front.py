"""`dsf.inspect`: the heads of any torch model, counted with proof."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, ShapeError
from dsf.models.capture import Call, run
from dsf.models.head import Head, measure
from dsf.models.inspection import Inspection
from dsf.models.layers import Layer, Row, whole
from dsf.models.layers import row as layer_row
from dsf.models.layers import run as run_layers
from dsf.models.layers.foreign import told
from dsf.models.probes import (
    LABELS,
    PROBES,
    Probe,
    drawn,
    require_fits,
    require_known,
    require_on_device,
    users,
    vocabulary_of,
)
from dsf.models.restored import as_found
from dsf.states import Realization
from dsf.tools.sweeps import shown, sweep

RTOL = (0.1, 0.01)
BUDGET = 32  # states of a head that is called recurrent
TOGETHER = 2**28  # bytes of weights that wait to be counted, and of proofs that are kept
SEVERAL = "{} axes left of the heads are read as sequences, also where they are heads"
Answer = tuple[Head, tuple[Realization, ...]]


def inspect(
    model: Any, *inputs: Any, rtol: Sequence[float] = RTOL, budget: int = BUDGET,
    probes: str | Sequence[str] = PROBES, vocabulary: int | None = None, seed: int = 0,
    lengths: Sequence[int] = (), causal: bool | None = None, keep: bool | None = None,
    time_limit: float = 10.0, n_jobs: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | Callable[[int, int], object] = False, **named: Any,
) -> Inspection:  # fmt: skip
    """How many states each head and layer of a model needs on these inputs, with proof.

        necessary = max_k #{j : sigma_j(M[k:, :k]) > rtol |M|}  <=  states  <=  sufficient

    M [L L] are the weights of a head on one sequence.  The model, a torch module or a function, is
    called as model(*inputs, **named), in evaluation mode and without gradients; its heads are found
    by the functions of torch that it calls (`dsf.models.capture`).  A batch is several texts.
    LSTM, GRU, RNN, loops over their cells, convolutions, mechanisms of this package, layers of
    Mamba and of FLA are linearised along their run (`dsf.models.layers`): M are then blocks
    dy_i / du_j.  A module in which nothing of that is found is linearised as a whole, if its input
    is [batch L d] of floats.  Attention on keys of another sequence has a row and no counts.

    rtol        errors relative to |M|_2; the verdict is by the smallest
    budget      the most states of a head that is called recurrent
    probes      of "text" (the inputs), "repeat" (random tokens, twice) and "pairs" (keys with
                values, again in another order), as long as the text; `decoder_input_ids` likewise.
                Only the inputs where they hold no token ids (an integer tensor [L] or [B L],
                `input_ids` or the first one)
    vocabulary  tokens there are; by default rows of the model's embedding.   seed: of the probes
    lengths     also count the first tokens of causal heads, so many: how counts grow
    causal      True: DomainError if a head looks at later tokens
    keep        keep the certificates of all counts, each of more than 8 L^2 bytes; by default where
                these 8 L^2 are 256 MiB at most.  Otherwise `.check()` runs the model again
    time_limit  seconds for one head and length
    n_jobs, cache, progress   as those of `dsf.sweep`, over heads: processes, a folder of finished
                heads (a call after a kill goes on), a bar

    Memory: the weights of heads that wait to be counted, 256 MiB or one head.
    Tokens that `attention_mask` hides are left out of M.
    Raises DomainError for a model in which nothing is found, ShapeError, DTypeError, and what the
    model raises; the model is left as it was.
    Source of the counts: `dsf.realize`; effective state size: arXiv 2504.19561.

    >>> import torch
    >>> layer = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    >>> found = inspect(lambda x: layer(x, x, x)[0], torch.zeros(1, 6, 4))
    >>> len(found.rows), found.rows[0].states[0.1], found.check()
    (2, (2, 2), True)
    """
    errors = _errors(rtol)
    [most], shorter = _whole_numbers("budget", budget, 0), _whole_numbers("lengths", lengths, 1)
    which = require_known(probes)
    require_on_device(model)
    if not isinstance(cache, (str, os.PathLike, type(None))):
        raise DTypeError(
            f"inspect: cache= is a folder for heads that are counted; got {type(cache).__name__}. "
            "What a model has kept of an earlier text cannot be counted with: give the whole text "
            "in one call"
        )
    text = users(model, inputs, named)
    with told(model):
        calls, notes = _probes(model, text, which, vocabulary, seed)
        heads, size = _sizes(model, calls)
    kept = size * len(errors) <= TOGETHER if keep is None else keep
    options = _Options(errors, shorter, time_limit, kept, n_jobs, cache)
    rows: list[Head] = []
    proofs: list[Realization] = []
    with shown(progress, "heads") as show:
        bar = _Progress(show, heads)
        for probe in calls:
            for row, found in _counted(model, probe, options, bar):
                if causal and row.leak is not None:
                    _complain(row)
                rows.append(row)
                proofs.extend(found)
    layers = _layers(model, calls, errors, time_limit)
    if not rows and not layers:
        layers = _whole(model, calls[0], errors, time_limit)
    for layer, _ in layers:
        if causal and layer.leak is not None:
            _complain(layer)
    by_name = {probe.name: probe for probe in calls}

    def again(row: Head | Row) -> np.ndarray:
        return kernel_of(model, by_name[row.probe], row)

    return Inspection(
        tuple(rows), errors, most, tuple(proofs) if kept else None, tuple(notes),
        time_limit, tuple(row for row, _ in layers), tuple(found for _, found in layers), again,
    )  # fmt: skip


def _layers(
    model: Any, probes: list[Probe], rtol: tuple[float, ...], time_limit: float
) -> list[tuple[Row, tuple[Any, ...]]]:
    """Rows of recurrences, convolutions and others, if the model is a module."""
    import torch

    found: list[tuple[Row, tuple[Any, ...]]] = []
    if not isinstance(model, torch.nn.Module):
        return found
    for probe in probes:

        def visit(layer: Layer, probe: Probe = probe) -> None:
            count = layer.batch if probe.name in ("text", "input") else 1
            for sequence in range(count):
                row, proofs = layer_row(layer, rtol, time_limit, sequence)
                found.append((replace(row, probe=probe.name), proofs))

        run_layers(model, *probe.fresh(), visit)
    return found


def _whole(
    model: Any, probe: Probe, rtol: tuple[float, ...], time_limit: float
) -> list[tuple[Row, tuple[Any, ...]]]:
    """The model as one linear map along its input; DomainError where it has no derivative."""
    import torch

    x: Any = probe.inputs[0] if len(probe.inputs) == 1 and not probe.named else None
    if not (isinstance(model, torch.nn.Module) and torch.is_tensor(x) and x.is_floating_point()):
        raise DomainError(
            "inspect: the model called no attention and no layer that is known (LSTM, GRU, RNN, "
            "convolutions, mechanisms, Mamba, FLA), and it cannot be linearised as a whole: that "
            "needs a torch module and one input of floats. Likely cause: kernels outside torch, or "
            "a model that never mixes tokens"
        )
    with as_found(model):
        layer = whole(model, x if x.ndim == 3 else x[None])
        found = [layer_row(layer, rtol, time_limit, s) for s in range(layer.batch)]
    return [(replace(row, probe=probe.name, note=row.note or _mixes(row)), p) for row, p in found]


def _mixes(row: Row) -> str:
    still = row.how == "kernel" and not any(high for _, high in row.states.values())
    return "no output depends on another token by more than the errors" if still else ""


@dataclass(frozen=True)
class _Options:
    rtol: tuple[float, ...]
    lengths: tuple[int, ...]
    time_limit: float
    keep: bool
    n_jobs: int | None
    cache: str | os.PathLike[str] | None


class _Progress:
    """Heads done of all heads, over several sweeps."""

    def __init__(self, show: Callable[[int, int], object], total: int) -> None:
        self.show, self.total, self.before = show, total, 0

    def part(self, size: int) -> Callable[[int, int], object]:
        before, show = self.before, self.show
        self.before += size
        return lambda done, _: show(before + done, self.total)


def _errors(rtol: Sequence[float]) -> tuple[float, ...]:
    given: tuple[Any, ...] = (rtol,) if np.ndim(rtol) == 0 else tuple(rtol)
    try:
        errors = tuple(dict.fromkeys(map(float, given)))
    except (TypeError, ValueError):
        errors = ()
    if not errors or not all(0 < e < 1 for e in errors):
        raise DomainError(f"inspect: rtol are errors between 0 and 1; got {rtol!r}")
    return errors


def _whole_numbers(name: str, given: Any, least: int) -> tuple[int, ...]:
    numbers = (given,) if np.ndim(given) == 0 else tuple(given)
    if not all(isinstance(n, Integral) and int(n) >= least for n in numbers):
        raise DomainError(f"inspect: {name} must be whole numbers from {least} on; got {given!r}")
    return tuple(map(int, numbers))


def _probes(
    model: Any, text: Probe, which: tuple[str, ...], vocabulary: int | None, seed: int
) -> tuple[list[Probe], list[str]]:
    if text.ids is None:
        asked = len(which) > 1 or "text" not in which
        return [text], (["the inputs hold no tokens: no probe but these inputs"] if asked else [])
    known = None if which == ("text",) else vocabulary_of(model, text)
    if known is not None and vocabulary is not None and vocabulary > known:
        raise DomainError(
            f"inspect: vocabulary={vocabulary}, and the model's embedding has {known} rows. Leave "
            "vocabulary= out"
        )
    size = known if vocabulary is None else vocabulary
    more = [] if size is None else drawn(text, size, which, seed)
    notes = []
    read = (text.ids, text.targets)
    others = [name for name in text.named if name.endswith("input_ids") and name not in read]
    if others and more:
        notes.append(
            f"probes are {text.ids if isinstance(text.ids, str) else 'the first tokens'} alone; "
            f"{', '.join(others)} stay those of the text"
        )
    if more and any(LABELS in text.named and LABELS not in probe.named for probe in more):
        notes.append("labels are left out of the probes, whose tokens they do not belong to")
    lacking = [name for name in which if name != "text" and name not in {p.name for p in more}]
    if lacking:
        why = "vocabulary is not known: give vocabulary=" if size is None else "the text is short"
        notes.append(f"no probe {' or '.join(lacking)}: {why}")
    return [*([text] if "text" in which or not more else []), *more], notes


# ---------------------------------------------------------------------- heads of a run
def _sizes(model: Any, probes: list[Probe]) -> tuple[int, int]:
    """Heads that will be counted on all probes, and the bytes of their weights."""
    heads, size = 0, 0

    def visit(call: Call) -> None:
        nonlocal heads, size
        for probe in probes:
            count = call.heads * _batch(call, probe)
            heads, size = heads + count, size + 8 * count * call.rows * call.columns

    run(model, *probes[0].fresh(), visit)
    return heads, size


def _batch(call: Call, probe: Probe) -> int:
    """How many sequences of a call are counted: of the probes that are drawn, the first."""
    return call.batch if probe.name in ("text", "input") else 1


def _counted(model: Any, probe: Probe, options: _Options, progress: _Progress) -> Iterator[Answer]:
    """The rows of a run, in the order of the model."""
    answers: list[Answer] = []
    waiting: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    size = 0

    def count() -> None:
        found = sweep(
            measure, waiting, n_jobs=options.n_jobs, cache=options.cache, version="heads 3",
            on_error="raise", progress=progress.part(len(waiting)),
        )  # fmt: skip
        answers.extend(found.values)
        waiting.clear()

    def visit(call: Call) -> None:
        nonlocal size
        for sequence in range(_batch(call, probe)):
            ids = _ids(probe, call, sequence)
            for head in range(call.heads):
                M, note = _shown(call, head, probe, sequence)
                if call.axes > 1:
                    note = "; ".join(filter(None, (note, SEVERAL.format(call.axes))))
                waiting.append({
                    "M": M, "ids": ids, "rtol": options.rtol, "lengths": options.lengths,
                    "time_limit": options.time_limit, "keep": options.keep,
                    "about": {
                        "module": call.module, "call": seen[call.module], "head": head,
                        "kind": call.kind, "width": call.width, "probe": probe.name,
                        "group": head * call.groups // call.heads, "sequence": sequence,
                        "note": note, "cross": call.cross,
                    },
                })  # fmt: skip
                size += M.nbytes
                if size + M.nbytes > TOGETHER:
                    count()
                    size = 0
        seen[call.module] += 1

    run(model, *probe.fresh(), visit)
    if waiting:
        count()
    yield from answers


def _ids(probe: Probe, call: Call, sequence: int) -> np.ndarray | None:
    tokens, shown = probe.of(call.module)
    if tokens is None or tokens.shape != (call.batch, call.rows):
        return None
    ids = np.asarray(tokens[sequence])
    return ids if shown is None else ids[shown[sequence]]


def _shown(call: Call, head: int, probe: Probe, sequence: int) -> tuple[np.ndarray, str]:
    """The weights of a head without tokens that the user's mask hides."""
    M, (_, marked) = call.weights(head, sequence), probe.of(call.module)
    if marked is None or call.cross or M.shape[0] != M.shape[1]:
        return M, ""
    require_fits(len(M), marked)
    shown = marked[sequence]
    hidden = int(np.sum(~shown))
    return M[np.ix_(shown, shown)], f"{hidden} hidden tokens left out" if hidden else ""


class _Found(Exception):
    """Ends a run that has shown what was looked for."""


def kernel_of(model: Any, probe: Probe, row: Head | Row) -> np.ndarray:
    """The kernel [L r L d] of a row, from another run; ShapeError if it is no longer there."""
    seen: Counter[str] = Counter()
    found: list[np.ndarray] = []

    def of_head(call: Call) -> None:
        if isinstance(row, Head) and (call.module, seen[call.module]) == (row.module, row.call):
            M = _shown(call, row.head, probe, row.sequence)[0]
            found.append(M[:, None, :, None])
            raise _Found
        seen[call.module] += 1

    def of_layer(layer: Layer) -> None:
        if (layer.module, layer.call) == (row.module, row.call):
            found.append(layer.linearise(row.sequence).kernel())
            raise _Found

    try:
        if isinstance(row, Head):
            run(model, *probe.fresh(), of_head)
        elif row.kind == "whole":
            x = probe.inputs[0]
            with as_found(model):
                of_layer(whole(model, x if x.ndim == 3 else x[None]))
        else:
            run_layers(model, *probe.fresh(), of_layer)
    except _Found:
        return found[0]
    raise ShapeError(
        f"inspect: {row.module or 'the model'} is no longer called {row.call + 1} times. Likely "
        "cause: the model has changed since it was inspected"
    )


def _complain(row: Head | Row) -> None:
    i, j = row.leak or (0, 0)
    head = f" head {row.head}" if isinstance(row, Head) else ""
    cause = "a missing attention mask" if head else "a layer that reads from both ends, or padding"
    raise DomainError(
        f"inspect: {row.module or 'the model'}{head} lets token {i} look at the later token "
        f"{j}: it is not causal. Likely cause: {cause}. causal=None counts both directions together"
    )
