"""`replace`: a model runs with heads replaced by recurrences."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, ShapeError
from dsf.models.capture import Call, watched
from dsf.models.replacement.choice import Choice, Name, choice
from dsf.models.replacement.recurrences import realized, streamed
from dsf.models.replacement.replaced import Replaced, row


@contextmanager
def replace(
    model: Any, plan: Mapping[Name, int] | Any = None, *, states: int | None = None,
    rtol: float | None = None, heads: Callable[[str, int], bool] | Collection[Name] | None = None,
    time_limit: float = 10.0,
) -> Iterator[Replaced]:  # fmt: skip
    """While it lasts, heads of the model are the recurrences that stand for their weights.

        S_t = A_t S_{t-1} + B_t v_t,    y_t = C_t S_{t-1} + M_tt v_t,    S [n V]

    The weights M [L L] of a head on the input of that call are realized (`dsf.realize`), with
    `states` n, with the fewest states found for an error of `rtol` |M|, or with those of a `plan`
    {(module, head): n}; then the values of the head are streamed through it in float64.  `heads`
    restricts this: names (module, head), or a rule f(module, head).  Later layers see what the
    replaced ones return, so their weights are those of the changed model.  What the block gets is
    a `Replaced`, with a row for each head of each call.

    The coefficients know the whole input, so this is no model that could read a next token.  What
    it loses is measured, not proved: a reference that linear recurrences of so many states, made
    without such knowledge, can be compared with.  The model runs without gradients, in evaluation
    mode, and is as before afterwards, also after an exception.
    Weights of half precision are taken as they are, in float64; results are rounded to the dtype
    of the model.  Dropout that a call asks for itself is left out of replaced heads.

    Raises DomainError for other than one of plan, states, rtol, and where nothing was replaced;
    ShapeError for queries that are not the keys' tokens (a cache), NonFiniteError,
    DTypeError for a model without numbers (meta), UnknownNameError for heads that were not called.
    Source: balanced truncation of time-varying systems, see `realize`.

    >>> import torch
    >>> layer = torch.nn.MultiheadAttention(4, 2, batch_first=True).eval()
    >>> x = torch.randn(1, 6, 4)
    >>> with replace(layer, states=3) as found:
    ...     y = layer(x, x, x)[0]
    >>> len(found.rows), found.rows[0].states, found.check()
    (2, 3, True)
    """
    rule = choice(plan, states, rtol, heads)
    _check_numbers(model)
    found = Replaced([], [])

    def visit(call: Call) -> dict[int, Any]:
        return _recurrent(call, rule, found, time_limit)

    with watched(model, visit):
        yield found
    rule.check_met()
    if not found.rows:
        raise DomainError(
            "replace: no head was replaced. Likely cause: the model was not called in the block, "
            "calls no attention that is seen (scaled_dot_product_attention, nn.MultiheadAttention, "
            "softmax times values), or heads= leaves all out."
        )


def _recurrent(call: Call, rule: Choice, found: Replaced, time_limit: float) -> dict[int, Any]:
    """The mixed values [batch L V] of the heads that are replaced."""
    import torch

    asked = {h: a for h in range(call.heads) if (a := rule.of(call.module, h)) is not None}
    if not asked:
        return {}
    if not call.batch * call.rows:
        raise ShapeError(
            f"replace: {call.module or 'the model'} was called with {call.batch} sequences of "
            f"{call.rows} tokens. Give at least one of each"
        )
    pairs = [(h, b) for h in asked for b in range(call.batch)]
    proofs = [realized(call, h, b, asked[h], time_limit) for h, b in pairs]
    V = call.values().detach().to("cpu").double().numpy()
    y = streamed(proofs, np.stack([V[b, h] for h, b in pairs]))
    found.proofs += proofs
    found.rows += [row(call, h, b, p) for (h, b), p in zip(pairs, proofs, strict=True)]
    each = y.reshape(len(asked), call.batch, *y.shape[1:])
    return {h: torch.from_numpy(mixed) for h, mixed in zip(asked, each, strict=True)}


def _check_numbers(model: Any) -> None:
    parameters = getattr(model, "parameters", None)
    if callable(parameters) and any(p.is_meta for p in parameters()):
        raise DTypeError(
            "replace: the model lies on the device meta, which holds no numbers. Load its weights, "
            "or make it with model.to_empty(device='cpu') and draw them."
        )
