"""Loops over `nn.LSTMCell`, `nn.GRUCell` and `nn.RNNCell`, put together from the cell's calls.

A call goes on with a sequence if the state that it was given is what the cell returned before, the
same tensor or the same numbers.  Otherwise a sequence starts with it, in the state that it was
given: a cell may run along several sequences, one after another or in turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TURNS = 64  # the last sequences, of which a call may be the next one
State = tuple[Any, ...]  # (h,) or (h, c), [B n] or [n]


@dataclass
class Run:
    """One sequence of a cell: its first state, what it read, [B d] each, and its last state.

    `version` counts changes of the last state in place, after which it is another one.
    """

    start: State | None
    read: list[Any] = field(default_factory=list)
    last: State = ()
    version: tuple[int, ...] = ()

    def input(self) -> Any:
        """[B L d]."""
        import torch

        return torch.stack(self.read, 1)

    def begin(self, sequence: int) -> State | None:
        """The first state of a sequence, [1 1 n] each, as LSTM, GRU and RNN take it."""
        if self.start is None:
            return None
        return tuple(s[None, sequence : sequence + 1] for s in self.start)

    def goes_on_with(self, state: State | None) -> bool:
        """Whether a state is the one that was returned last; zeros are a start."""
        if state is None or self.version != _versions(self.last):
            return False
        pairs = list(zip(self.last, state, strict=True))
        if all(a is b for a, b in pairs):
            return True
        if any(b.is_meta for _, b in pairs) or not any(bool(b.any()) for _, b in pairs):
            return False
        return all(a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


class Runs:
    """The sequences of one cell while a model runs."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.found: list[Run] = []
        self.calls = 0

    def saw(self, args: Any, named: Any, output: Any) -> None:
        """One call of the cell."""
        x, *rest = args or (named["input"],)
        given = rest[0] if rest else named.get("hx")
        state = None if given is None else _parts(given)
        self.calls += 1
        open_ = reversed(self.found[-TURNS:])
        run = next((r for r in open_ if r.goes_on_with(state)), None)
        if run is None:
            start = None if state is None else tuple(map(_row, state))
            run = Run(start)
            self.found.append(run)
        run.read.append(_row(x))
        run.last = _parts(output)
        run.version = _versions(run.last)

    @property
    def loose(self) -> bool:
        """Whether the cell was called several times and no state was handed on."""
        return self.calls > 1 and len(self.found) == self.calls


def is_cell(module: Any) -> bool:
    """Whether a module is a cell of torch, with its own equations."""
    import torch

    cells = (torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell)
    return any(type(module).forward is cell.forward for cell in cells)


def kind_of_cell(cell: Any) -> str:
    """ "lstm cell", "gru cell" or "rnn cell"."""
    import torch

    names = {torch.nn.LSTMCell: "lstm cell", torch.nn.GRUCell: "gru cell"}
    return next((name for c, name in names.items() if isinstance(cell, c)), "rnn cell")


def layer_of(cell: Any) -> Any:
    """The LSTM, GRU or RNN of one layer whose step is the cell, in float64."""
    import torch

    options = {"batch_first": True, "bias": cell.bias, "dtype": torch.float64}
    if isinstance(cell, torch.nn.RNNCell):
        options["nonlinearity"] = cell.nonlinearity
    kinds = {"lstm cell": torch.nn.LSTM, "gru cell": torch.nn.GRU, "rnn cell": torch.nn.RNN}
    layer = kinds[kind_of_cell(cell)](cell.input_size, cell.hidden_size, **options)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if cell.bias else ())):
            getattr(layer, f"{name}_l0").copy_(getattr(cell, name))
    return layer.requires_grad_(False)


def _parts(state: Any) -> State:
    return state if isinstance(state, tuple) else (state,)


def _versions(state: State) -> tuple[int, ...]:
    return tuple(x._version for x in state)


def _row(x: Any) -> Any:
    """A copy [B n]: what the model puts into the same tensor later is not what the cell read."""
    return x.detach().clone().reshape(-1, x.shape[-1])
