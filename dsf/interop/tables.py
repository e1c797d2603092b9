"""Systems as pandas data frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.arrays import common_zero, to_numpy
from dsf.core.errors import UnknownNameError
from dsf.core.optional import pandas
from dsf.core.system import LTV
from dsf.interop.steps import step_matrices

TABLES = ("kernel", "coefficients", "sizes")


def to_pandas(ltv: LTV, table: str = "kernel") -> Any:
    """A system as a `pandas.DataFrame`.

    kernel         M, one row per output token i and one column per input token j; batch and head
                   axes are further row levels, r > 1 and m > 1 further levels "output", "input"
    coefficients   one row per number: coefficient, batch and head axes, t, row, column, value
    sizes          one row: L, n, m, r, heads, structure, read, complex, and `state`, the real
                   numbers of all systems' states per column of X

    The dtype is that of the system (object for symbols).  Raises UnknownNameError for another
    table and MissingExtraError without pandas.

    >>> import dsf
    >>> ltv = dsf.retnet.init(d=2, n=1, p=1).ltv(np.ones((3, 2)))
    >>> dsf.interop.to_pandas(ltv).shape
    (3, 3)
    >>> dsf.interop.to_pandas(ltv, "sizes").loc[0, "structure"]
    'scalar'
    """
    makers = {"kernel": _kernel, "coefficients": _coefficients, "sizes": _sizes}
    if table not in makers:
        raise UnknownNameError(f"to_pandas: no table {table!r}; there is {', '.join(TABLES)}")
    return makers[table](pandas("to_pandas"), ltv)


def _axis_names(ltv: LTV) -> list[str]:
    """Names of the axes left of time: the last is "head"."""
    names = [f"batch{k}" for k in range(len(ltv.batch))]
    return [*names[:-1], "head"] if names else []


def _kernel(pd: Any, ltv: LTV) -> Any:
    M = to_numpy(ltv.kernel())
    L, r, m, batch = ltv.length, ltv.r, ltv.m, ltv.batch
    M = np.broadcast_to(M.reshape(*M.shape[: len(batch)], L * r, L * m), (*batch, L * r, L * m))
    rows = [*zip(_axis_names(ltv), batch, strict=True), ("i", L), ("output", r)]
    rows = [(name, size) for name, size in rows if size > 1 or name == "i"]
    columns = [("j", L), ("input", m)] if m > 1 else [("j", L)]
    return pd.DataFrame(M.reshape(-1, L * m), _levels(pd, rows), _levels(pd, columns))


def _levels(pd: Any, axes: list[tuple[str, int]]) -> Any:
    names, sizes = zip(*axes, strict=True)
    if len(axes) == 1:
        return pd.RangeIndex(sizes[0], name=names[0])
    return pd.MultiIndex.from_product([range(s) for s in sizes], names=names)


def _coefficients(pd: Any, ltv: LTV) -> Any:
    frames = []
    steps = [0] if ltv.constant else range(ltv.length)
    for t in steps:
        for index in np.ndindex(*ltv.batch):
            for name, x in zip("ABCD", step_matrices(ltv, t, index), strict=True):
                where = dict(zip(_axis_names(ltv), index, strict=True))
                row, column = np.indices(x.shape)
                cells = {"row": row.ravel(), "column": column.ravel(), "value": x.ravel()}
                frames.append(pd.DataFrame({"coefficient": name, **where, "t": t, **cells}))
    return pd.concat(frames, ignore_index=True)


def _sizes(pd: Any, ltv: LTV) -> Any:
    heads = int(np.prod(ltv.batch, dtype=int))
    is_complex = np.iscomplexobj(to_numpy(common_zero(*ltv.arrays())))
    return pd.DataFrame(
        {
            "L": [ltv.length], "n": ltv.n, "m": ltv.m, "r": ltv.r, "heads": heads,
            "structure": ltv.A.structure, "read": ltv.read, "complex": is_complex,
            "state": heads * ltv.n * (2 if is_complex else 1),
        }
    )  # fmt: skip
