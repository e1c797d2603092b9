"""The heads of one attention call as recurrences, and their values streamed through these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf.core.errors import NonFiniteError, ShapeError
from dsf.models.capture import Call
from dsf.states import Realization, realize
from dsf.states.systems import has_backward, ltv

Asked = Mapping[str, Any]  # {"states": n} or {"rtol": e}, as `realize` takes them


def weights_of(call: Call, head: int, sequence: int) -> np.ndarray:
    """The weights [L L] of a head on a sequence.

    Raises ShapeError where queries are not the keys' tokens, NonFiniteError.
    """
    who = f"{call.module or 'the model'} head {head}"
    if call.cross or call.rows != call.columns:
        others = " of another sequence" if call.cross else ""
        raise ShapeError(
            f"replace: {who} was called with {call.rows} queries on {call.columns} keys{others}, "
            "which is no map of a sequence to itself. Likely cause: cached decoding, or attention "
            "on another sequence. Give the whole text in one call, without a cache, or leave it "
            "out with heads=."
        )
    M = call.weights(head, sequence)
    if not np.isfinite(M).all():
        raise NonFiniteError(
            f"replace: weights of {who} on sequence {sequence} are not finite. Likely cause: NaN "
            "or infinity in its input, or a half precision that overflows. Look at the layers "
            "before it."
        )
    return M


def realized(call: Call, head: int, sequence: int, asked: Asked, time_limit: float) -> Realization:
    """The recurrence of a head on a sequence, with its proof (`dsf.realize` of its weights)."""
    return realize(weights_of(call, head, sequence), **asked, time_limit=time_limit)


def streamed(found: Sequence[Realization], V: np.ndarray) -> np.ndarray:
    """The values V [heads L p] through one recurrence each, a step at a time: [heads L p].

        S_t = A_t S_{t-1} + B_t v_t,    y_t = C_t S_{t-1} + D_t v_t

    and where weights lie above the diagonal the same from the end, added.  The matrix of weights
    is not used.
    """
    heads = [x.certificate.witnesses["heads"][0] for x in found]
    X = V[:, :, None, :]
    y = ltv(heads, "forward", batch=True).scan(X)[0]
    if has_backward(heads):
        y = y + np.flip(ltv(heads, "backward", batch=True).scan(np.flip(X, 1))[0], 1)
    return y[:, :, 0, :]
