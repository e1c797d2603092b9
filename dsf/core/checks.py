"""What an LTV refuses, and how it says so: shapes that do not fit, overflow, dense giants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.arrays import to_numpy
from dsf.core.errors import DTypeError, OverflowingScanError, ShapeError, TooLargeError
from dsf.core.ops import Array
from dsf.core.transition import Diag, LowRank

LIMIT = 1 << 32  # bytes of one dense matrix over tokens; above it the caller must choose


def all_finite(x: Array) -> Any:
    """Whether every entry of a float array is finite."""
    return ops.isfinite(x).all()


def check_coefficients(ltv: Any) -> None:
    """Raise ShapeError unless the sizes n, m, r of A, B, C, D fit."""
    A = ltv.A.n
    scalar = isinstance(ltv.A, Diag) and A == 1  # one number acts on a state of any size
    fits = (A == ltv.n or scalar) and ltv.C.shape[-1] == ltv.n
    fits = fits and (ltv.D is None or tuple(ltv.D.shape[-2:]) == (ltv.r, ltv.m))
    if isinstance(ltv.A, LowRank):
        fits = fits and ltv.A.W.shape[-2] == A and ltv.A.diag.n in (1, A)
    if not fits:
        D = "" if ltv.D is None else f", D {list(ltv.D.shape)} must be [... r m]"
        raise ShapeError(
            f"LTV: the coefficients do not fit: A acts on {A} states, B {list(ltv.B.shape)} must "
            f"be [... n m], C {list(ltv.C.shape)} must be [... r n]{D}. Likely cause: a missing "
            "row() or col(), or parameters of another size."
        )


def check_input(ltv: Any, X: Array, S: Array | None) -> int:
    """The length L of X [... L m p]; raises ShapeError or DTypeError for X and the state S."""
    check_coefficients(ltv)
    kind = "" if ops.is_torch(X) else np.asarray(X).dtype.kind
    if kind in ("b", "U", "S", "V", "M", "m") or (ops.is_torch(X) and str(X.dtype) == "torch.bool"):
        raise DTypeError(f"LTV.scan: X must hold numbers; got dtype {X.dtype}")
    L = X.shape[-3] if X.ndim >= 3 else -1
    if X.ndim < 3 or X.shape[-2] != ltv.m or (L != ltv.length and not ltv.constant):
        raise ShapeError(
            f"LTV.scan: X must be [... L m p] with L = {ltv.length}, m = {ltv.m}; "
            f"got {tuple(X.shape)}. Likely cause: another sequence's input, or swapped axes."
        )
    if S is not None and tuple(S.shape[-2:]) != (ltv.n, X.shape[-1]):
        raise ShapeError(
            f"LTV.scan: the state must be [... n p] with n = {ltv.n}, p = {X.shape[-1]}; got "
            f"{tuple(S.shape)}. Likely cause: the state of another mechanism."
        )
    return L


def check_finite(
    part: Any, X: Array, before: Array, Y: Array, after: Array, start: int, L: int
) -> None:
    """Raise OverflowingScanError with the step where finite numbers stopped being finite.

    `part` holds the steps from `start` on, X, Y their input and output, `before` and `after` the
    states around them.  NaN or infinity in a coefficient, in X or in the state is not an overflow.
    """
    if not ops.readable(after) or (bool(all_finite(after)) and bool(all_finite(Y))):
        return
    if not (bool(all_finite(X)) and bool(all_finite(before))):
        return
    if any(bool(_nan_or_plus_inf(f)) for f in part.arrays()):
        return
    ready = part.multiplied_out()
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(X.shape[-3]):
            y, before = ready.step(t, before, X[..., t, :, :])
            what = "state" if not bool(all_finite(before)) else "output"
            if what == "state" or not bool(all_finite(y)):
                break
    raise OverflowingScanError.at(
        start + t,
        f"LTV.scan: the {what} left the range of {after.dtype} in step {start + t + 1} of {L} "
        f"(index {start + t}), although every input is finite.{_growth_of(part)} Likely cause: "
        "transitions above 1 in norm, or huge inputs. Use gates in (0, 1], rescale the input, or "
        "ask ltv.growth() first.",
    )


def _growth_of(part: Any) -> str:
    """For one constant diagonal: after how many steps the product of transitions overflows."""
    if not isinstance(part.A, Diag) or any(size > 1 for size in part.A.lengths()):
        return ""
    values = to_numpy(part.A.values())
    a = float(np.abs(values).max(initial=0))
    if not 1 < a < np.inf:
        return ""
    steps = int(np.ceil(np.finfo(values.dtype).maxexp * np.log(2) / np.log(a)))  # a^k >= 2^maxexp
    return f" |A| = {a:.6g} throughout, so |prod A| alone overflows after {steps} steps."


def _nan_or_plus_inf(x: Array) -> Any:
    """Log-decays of -inf are exact zeros and stay allowed."""
    if ops.is_torch(x):
        return (x.isnan() | (x.isinf() & (x.real > 0))).any()
    return (np.isnan(x) | (np.isinf(x) & (np.real(x) > 0))).any()


def check_size(what: str, shape: Sequence[int], itemsize: int, limit: int, advice: str) -> None:
    """Raise TooLargeError, naming the size, if an array of this shape exceeds `limit` bytes."""
    size = itemsize
    for s in shape:
        size *= int(s)
    if size > limit:
        shown = " ".join(map(str, shape))
        raise TooLargeError(
            f"{what}: [{shown}] takes {size:,} bytes ({size / 2**30:.1f} GiB); the limit is "
            f"{limit:,}. {advice}"
        )


def check_joinable(what: str, a: Any, b: Any, sizes_fit: bool) -> None:
    """Raise ShapeError unless two systems can be added or chained."""
    if not sizes_fit or a.read != b.read or a.length != b.length:
        raise ShapeError(
            f"LTV {what}: the systems do not fit: (r, m, L, read) = ({a.r}, {a.m}, {a.length}, "
            f"{a.read!r}) and ({b.r}, {b.m}, {b.length}, {b.read!r}). Both must have the same "
            "length and reading convention; coarsen or convert one of them."
        )
