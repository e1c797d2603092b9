"""What a language model loses on a text when its heads are recurrences of few states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.core.optional import pandas
from dsf.models.capture import run
from dsf.models.replacement.context import replace
from dsf.models.replacement.replaced import heads_of

SCOPE = "measured on this text alone; the coefficients of the recurrences know all of it"


@dataclass(frozen=True)
class Loss:
    """A run: heads of `module` ("" is every module), `heads` of them, with `states` states each.

    loss    nats per token;   median, worst   proved relative errors of the heads' weights
    """

    module: str
    heads: int
    states: int
    loss: float
    median: float
    worst: float


@dataclass(frozen=True, repr=False)
class Losses:
    """What `losses` returns: the loss of the model as it is, and one row for each run."""

    plain: float
    tokens: int
    rows: tuple[Loss, ...]

    def __repr__(self) -> str:
        head = f"{'heads of':30}{'heads':>6}{'states':>8}{'nats':>9}{'median':>9}{'worst':>9}"
        lines = [
            f"{(r.module or 'all modules')[-29:]:30}{r.heads:>6}{r.states:>8}{r.loss:>9.4f}"
            f"{r.median:>9.4f}{r.worst:>9.4f}"
            for r in self.rows
        ]
        plain = f"{self.plain:.4f} nats per token on {self.tokens} tokens without replacement"
        return "\n".join([plain, head, *lines, SCOPE])

    def to_pandas(self) -> Any:
        """One row per run; needs pandas."""
        return pandas("Losses.to_pandas").DataFrame([asdict(r) for r in self.rows])


def next_token_loss(output: Any, tokens: Any, mask: Any = None) -> float:
    """The mean of -log softmax(logits_t)[token_{t+1}] over a batch of texts, in nats.

    `output`: logits [B L words], or what holds them as `.logits`; tokens [B L] of integers.  With
    a mask [B L] only those predictions count whose two tokens are 1 in it (no padding).  Float64.
    Raises ShapeError where the shapes do not fit or nothing is predicted.

    >>> import torch
    >>> round(next_token_loss(torch.zeros(1, 3, 7), torch.tensor([[0, 1, 2]])), 4)  # log 7
    1.9459
    """
    import torch

    logits = getattr(output, "logits", output)
    if logits.ndim != 3 or tuple(logits.shape[:2]) != tuple(tokens.shape):
        raise ShapeError(
            f"next_token_loss: needs logits [B L words] and tokens [B L]; got "
            f"{tuple(logits.shape)} and {tuple(tokens.shape)}"
        )
    counts = torch.ones_like(tokens) if mask is None else mask
    counts = (counts[:, 1:] * counts[:, :-1]).double()
    if not counts.sum() > 0:
        raise ShapeError("next_token_loss: no token has one after it; a text needs two tokens")
    logp = logits[:, :-1].detach().double().log_softmax(-1)
    each = -logp.gather(-1, tokens[:, 1:, None])[..., 0]
    return float((each * counts).sum() / counts.sum())


def losses(
    model: Any, tokens: Any, states: Sequence[int] = (1, 2, 4, 8, 16), *, by_module: bool = False,
    time_limit: float = 10.0, **named: Any,
) -> Losses:  # fmt: skip
    """The loss of a language model with its heads replaced by recurrences of n states each.

    For every n of `states` all heads are replaced at once, or, `by_module`, those of one module at
    a time.  The model, called as model(tokens, **named) with tokens [B L], returns logits [B L
    words] or an object that has them; an `attention_mask` among `named` leaves padding out of the
    loss.  Nothing is kept of a run but its row.  Raises what `replace` and `next_token_loss` raise,
    DomainError without states.

    >>> import torch
    >>> layer = torch.nn.MultiheadAttention(5, 1, batch_first=True)
    >>> def model(tokens):
    ...     x = torch.nn.functional.one_hot(tokens, 5).float()
    ...     return layer(x, x, x)[0]
    >>> found = losses(model, torch.tensor([[0, 1, 2, 3, 4]]), states=(4,))
    >>> abs(found.rows[0].loss - found.plain) < 1e-5
    True
    """
    if not np.ndim(states) or not len(states):
        raise DomainError("losses: states= must be a sequence of numbers of states, at least one")
    modules: list[str] = []

    def note(call: Any) -> None:
        modules.append(call.module)

    mask = named.get("attention_mask")
    plain = next_token_loss(run(model, (tokens,), named, note), tokens, mask)
    chosen: list[str | None] = [*dict.fromkeys(modules)] if by_module else [None]
    rows = []
    for name in chosen:
        for n in states:
            rule = None if name is None else (lambda module, _, name=name: module == name)
            with replace(model, states=n, heads=rule, time_limit=time_limit) as found:
                loss = next_token_loss(model(tokens, **named), tokens, mask)
            median, worst = float(np.median(found.errors)), float(found.errors.max())
            rows.append(Loss(name or "", heads_of(found.rows), n, loss, median, worst))
    return Losses(plain, int(tokens.shape[-1]), tuple(rows))
