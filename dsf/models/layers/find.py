"""The token mixers of a run that are not attention, seen by hooks on the modules that are known.

    LSTM, GRU, RNN          torch.nn                       states known: the frozen system
    LSTM, GRU, RNN cells    torch.nn, in loops             the same, from the calls of a run
    mechanisms              `to_torch()` of this package   states known, unless it is attention
    convolution             torch.nn.Conv1d                states: the past inputs that it keeps
    mamba, deltanet, fla    transformers, mamba_ssm, fla   the layer as a whole, by its derivatives

A layer inside of another one that is seen belongs to it.  Nothing is kept when `visit` returns, but
what a cell has read: its sequences are known when the model has run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError
from dsf.interop.module import Module
from dsf.models.layers.cells import Run, Runs, is_cell, kind_of_cell, layer_of
from dsf.models.layers.foreign import Made, is_foreign
from dsf.models.layers.linear import Linear, of_call, of_mechanism, of_recurrence, of_whole
from dsf.models.restored import as_found

MATRIX = (  # layers with one state [keys values] for each head
    "GatedLinearAttention", "SimpleGatedLinearAttention", "DeltaNet", "MultiScaleRetention",
    "RWKV7Attention",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Layer:
    """One call of a layer: where it was made, what it read, and its linear map along that.

    module    the qualified name; "" is the model itself;   call   how often it was called before
    kind      "lstm", "gru", "rnn", the same with " cell", "convolution", a mechanism's name, or the
              class of the layer.  A call of a cell is a sequence of its calls
    batch     sequences;   tokens   of the longest one;   width   of the input
    states    real numbers that the layer itself keeps from one token to the next; None: not known
    input     what it read, a tensor [batch tokens width]
    """

    module: str
    call: int
    kind: str
    batch: int
    tokens: int
    width: int
    states: int | None
    input: Any
    linear: Callable[[int], Linear]

    def linearise(self, sequence: int = 0) -> Linear:
        """The layer's derivative along a sequence of the batch.

        Raises ShapeError if the sequence is not there or the layer changes the number of tokens,
        NonFiniteError for NaN or infinity in what it read, DomainError for a tensor without numbers
        (`meta`) and for a layer that cannot be copied to float64.
        """
        if not 0 <= sequence < self.batch:
            raise ShapeError(
                f"layers: sequence {sequence} is not there; {self.module or 'the model'} was "
                f"called with {self.batch}"
            )
        if self.input.is_meta:
            raise DomainError(
                "layers: the input is on the device 'meta', which has shapes and no numbers"
            )
        if not bool(self.input[sequence].isfinite().all()):
            raise NonFiniteError("layers: what the layer read holds NaN or infinity")
        return self.linear(sequence)


def run(model: Any, inputs: tuple[Any, ...], named: dict[str, Any],
        visit: Callable[[Layer], object]) -> Any:  # fmt: skip
    """Run the model once without gradients, in evaluation mode; `visit` sees every layer's call.

    Returns the model's output.  Modes, hooks and the random state are as before, also after an
    exception.  Raises DTypeError for what is no torch module.

    >>> import torch
    >>> seen = []
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.GRU(3, 4, batch_first=True))
    >>> y = run(model, (torch.zeros(1, 5, 2),), {}, seen.append)
    >>> [(layer.module, layer.kind, layer.tokens, layer.states) for layer in seen]
    [('1', 'gru', 5, 4)]
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise DTypeError(
            f"layers: layers are found by hooks on modules; got {type(model).__name__}, which is "
            "no torch module. Give the module itself"
        )
    with as_found(model), _watched(model, visit), torch.no_grad():
        return model(*inputs, **named)


def whole(model: Any, x: Any) -> Layer:
    """A module from [batch L d] to [batch L r] as one layer of which no equation is known.

    Raises ShapeError for another shape.
    """
    import torch

    with as_found(model), torch.no_grad():
        y = model(x)
    y = y[0] if isinstance(y, tuple) else y
    if x.ndim != 3 or y.ndim != 3 or y.shape[:2] != x.shape[:2]:
        raise ShapeError(
            f"inspect: a module is linearised as a whole from [batch L d] to [batch L r]; it maps "
            f"{list(x.shape)} to {list(y.shape)}. Likely cause: the sequence axis comes first, or "
            "the output is pooled over time"
        )
    about = ("", 0, "whole", len(x), x.shape[1], x.shape[2], None)
    return Layer(*about, x, lambda s: of_whole(model, x[s]))


def kind_of(module: Any) -> str | None:
    """What kind of token mixer a module is; None for all others."""
    import torch

    if isinstance(module, torch.nn.RNNBase):
        return str(module.mode).split("_")[0].lower()
    if is_cell(module):
        return kind_of_cell(module)
    if isinstance(module, Module):
        return str(module.mech.name)
    if type(module).forward is torch.nn.Conv1d.forward:
        return "convolution" if module.kernel_size[0] > 1 else None  # of one tap: no other token
    return type(module).__name__ if is_foreign(module) else None


@contextmanager
def _watched(model: Any, visit: Callable[[Layer], object]) -> Iterator[None]:
    """While it lasts, `visit` sees each call of a layer that is known, after it was made."""
    calls: Counter[str] = Counter()
    open_: list[str] = []  # known layers that are running
    cells: dict[str, Runs] = {}
    busy = False  # what `visit` runs by itself is not the model's run
    hooks: list[Any] = []

    def enter(name: str) -> None:
        if not busy:
            open_.append(name)

    def leave(name: str, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        nonlocal busy
        if busy:
            return
        open_.pop()
        if open_ or output is None:  # None: the call raised, and the model may catch that
            return
        if is_cell(module):
            cells.setdefault(name, Runs(module)).saw(args, kwargs, output)
            return
        call, calls[name] = calls[name], calls[name] + 1
        busy = True
        try:
            visit(_layer(name, call, module, args, kwargs, output))
        finally:
            busy = False

    try:
        for name, module in model.named_modules():
            if kind_of(module):
                hooks += [
                    module.register_forward_pre_hook(lambda *_, name=name: enter(name)),
                    module.register_forward_hook(
                        lambda m, a, k, y, name=name: leave(name, m, a, k, y),
                        with_kwargs=True,
                        always_call=True,
                    ),
                ]
        yield
        busy = True
        for name, runs in cells.items():
            for layer in _loops(name, runs):
                visit(layer)
    finally:
        for hook in hooks:
            hook.remove()


def _layer(
    name: str, call: int, module: Any, args: Any, kwargs: Any, output: Any
) -> Layer:  # fmt: skip
    import torch

    kind = str(kind_of(module))
    at: int | str = 0 if args else next(k for k, v in kwargs.items() if torch.is_tensor(v))
    x = kwargs[at] if isinstance(at, str) else args[at]
    if isinstance(module, torch.nn.RNNBase):
        start = args[1] if len(args) > 1 else kwargs.get("hx")
        return _recurrence(name, call, kind, module, x, start)
    if kind == "convolution":
        x = (x if x.ndim == 3 else x[None]).mT
        reach = int((module.kernel_size[0] - 1) * module.dilation[0])
        about = (name, call, kind, len(x), x.shape[1], x.shape[2], reach * module.in_channels)
        return Layer(*about, x, lambda s: of_whole(module, x[s], about[-1], reach))
    x = x.reshape(-1, *x.shape[-2:])
    states = _states(module)
    about = (name, call, kind, len(x), x.shape[1], x.shape[2], states)
    if isinstance(module, Module):
        return Layer(*about, x, lambda s: of_mechanism(module, x[s]))
    made = Made(module, args, kwargs, at, output)
    return Layer(*about, x, lambda s: of_call(made, states, s))


def _recurrence(name: str, call: int, kind: str, module: Any, x: Any, start: Any) -> Layer:
    import torch

    lengths = None
    if isinstance(x, torch.nn.utils.rnn.PackedSequence):
        x, lengths = torch.nn.utils.rnn.pad_packed_sequence(x, batch_first=True)
    elif x.ndim == 2:
        x = x[None]
    elif not module.batch_first:
        x = x.transpose(0, 1)
    parts = None
    if start is not None:
        parts = start if isinstance(start, tuple) else (start,)
        parts = tuple(p if p.ndim == 3 else p[:, None] for p in parts)
    size = (module.proj_size or module.hidden_size) + module.hidden_size * (kind == "lstm")
    states = size * module.num_layers * (1 + module.bidirectional)

    def linear(s: int) -> Linear:
        row = x[s] if lengths is None else x[s, : int(lengths[s])]
        begin = None if parts is None else tuple(p[:, s : s + 1] for p in parts)
        return of_recurrence(module, row, begin)

    return Layer(name, call, kind, len(x), x.shape[1], x.shape[2], states, x, linear)


def _loops(name: str, runs: Runs) -> Iterator[Layer]:
    """The sequences of a cell, each as a layer; one without a map where there is none."""
    cell, kind = runs.cell, kind_of_cell(runs.cell)
    states = cell.hidden_size * (2 if kind.startswith("lstm") else 1)
    if runs.loose:
        x = runs.found[0].input()

        def none(_: int) -> Linear:
            raise DomainError(
                f"layers: the cell was called {runs.calls} times, never with the state that it had "
                "returned: its calls are no sequence. Likely cause: the model changes the state "
                "between them, so that the loop is more than this cell"
            )

        yield Layer(name, 0, kind, len(x), runs.calls, x.shape[2], states, x, none)
        return
    for call, run in enumerate(runs.found):
        x = run.input()

        def linear(s: int, x: Any = x, run: Run = run) -> Linear:
            return of_recurrence(layer_of(cell), x[s], run.begin(s))

        yield Layer(name, call, kind, len(x), x.shape[1], x.shape[2], states, x, linear)


def _states(module: Any) -> int | None:
    """Real numbers that a layer of another library says it keeps, as its own sizes have it."""
    import torch

    if type(module).__name__.endswith(MATRIX):
        heads = getattr(module, "num_v_heads", None) or module.num_heads
        keys = getattr(module, "head_k_dim", None) or module.head_dim
        past = [(c.kernel_size[0] - 1) * c.in_channels for c in module.children()
                if isinstance(c, torch.nn.Conv1d)]  # fmt: skip
        shifted = module.hidden_size if hasattr(module, "time_shift") else 0  # RWKV: x_{t-1}
        return int(heads * keys * module.head_v_dim + sum(past) + shifted)
    sizes = [
        getattr(module, one, getattr(module, other, None))
        for one, other in (("intermediate_size", "d_inner"), ("ssm_state_size", "d_state"),
                           ("conv_kernel_size", "d_conv"))
    ]  # fmt: skip
    known = [n for n in sizes if isinstance(n, int)]
    if len(known) < len(sizes):
        return None
    inner, state, taps = known
    return inner * state + (taps - 1) * int(getattr(module, "conv_dim", inner))
