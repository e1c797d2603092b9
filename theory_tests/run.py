"""Running a mechanism on given tokens, for theorems about all tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.family import Family
from dsf.core.state import State
from dsf.core.tokens import Tokens


def run(family: Family, **fields: Any) -> np.ndarray:
    """Outputs [L p] of a family without head axis on tokens given field by field.

    A field is [L n]; a flat list [L] is taken as one column.  Constants are [1 n].

    >>> import dsf
    >>> x = [1, 2, 3]
    >>> run(dsf.linear_attn, q=x, k=x, v=x)[:, 0]
    array([ 1., 10., 42.])
    """
    arrays = {}
    for name, x in fields.items():
        x = np.asarray(x)
        x = x if x.dtype == object else x.astype(np.float64)
        arrays[name] = x.reshape(-1, 1) if x.ndim < 2 else x
    o, _ = family.without_parameters().advance(Tokens(**arrays), State())
    return np.asarray(o)[..., 0, :]
