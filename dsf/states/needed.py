"""How many states does an operator need?  Two-sided, with a system and a certificate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from dsf.core import ops
from dsf.core.arrays import at_least_float32, to_numpy
from dsf.core.catalogue import unwrapped
from dsf.core.errors import DomainError, DTypeError, ShapeError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.system import LTV
from dsf.states.inputs import Tolerance, as_blocks, number, tolerance
from dsf.states.operator import operator
from dsf.states.realization import Realization, report
from dsf.states.rounding import fro
from dsf.states.search import Answer, best_error, count_states

Errors = Sequence[float]  # a tuple or a list


@overload
def realize(
    M: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    states: int | None = None,
    relative: bool | None = None,
    time_limit: float = 10.0,
    radius: Any = 0.0,
) -> Realization: ...


@overload
def realize(
    M: Any, *, rtol: Errors, atol: None = None, time_limit: float = 10.0, radius: Any = 0.0
) -> tuple[Realization, ...]: ...


@overload
def realize(
    M: Any, *, rtol: None = None, atol: Errors, time_limit: float = 10.0, radius: Any = 0.0
) -> tuple[Realization, ...]: ...


def realize(
    M: Any,
    *,
    rtol: float | Errors | None = None,
    atol: float | Errors | None = None,
    states: int | None = None,
    relative: bool | None = None,
    time_limit: float = 10.0,
    radius: Any = 0.0,
) -> Realization | tuple[Realization, ...]:
    """A recurrence for the operator M: few states for an error, or a small error for `states`.

        lower = max_k #{j : sigma_j(M[k:, :k]) > error}  <=  states needed  <=  upper (.system)

    and with states = n:  lower = max_k sigma_{n+1}(M[k:, :k])  <=  best error  <=  upper (proved)

    M is [L L], [H L L] (each head by itself), [L r L m] or [H L r L m], real, computed in float64.
    States are counted per head, both directions together: entries above the diagonal need a second,
    backward system, and the states of the two add.  Where a singular values of forward blocks and b
    of backward ones exceed an error, fewer than a + b states are too few in one direction.
    `states` is shared by both directions.  The error is in the operator 2-norm: `rtol` times |M|_2
    of each head, or `atol`; rtol=1e-2 where neither these nor `states` are given.  With `states`,
    the bounds are in units of |M|_2 unless relative=False.  `radius` (a number: 2-norm; an array
    of M's shape: entrywise) widens every statement to all operators within it of M.

    A tuple of errors gives a tuple of results in its order, each that of its own call.  They share
    the bounds of |M|, the singular vectors of Hankel blocks, and where L max(r, m) <= 160 also the
    pass that compresses M; that of a larger M is truncated at each error by itself.  `time_limit`
    is for all together, and the seconds of the first include what is shared.

    After `time_limit` seconds the best bounds so far are returned, and a note says so; the last
    proof is not interrupted.  An error below about 1e-7 |M| needs an SVD at each step instead of
    Gram matrices, which is slower; about 1e-12 L |M| is the least that can be proved.

    Where more states than about L/8 are needed and the time is short, the system is an exact one:
    floor(L/2) states if its coefficients fit into memory, otherwise all L - 1 past inputs.

    Raises DomainError, ShapeError, DTypeError, NonFiniteError.
    Source: van der Veen and Dewilde (Hankel blocks), Sandberg and Rantzer (truncation), Rump
    (positive definiteness).

    >>> import numpy as np
    >>> t = np.arange(32)
    >>> M = np.tril(1 / (1 + np.subtract.outer(t, t).clip(0)))
    >>> found = realize(M, atol=1e-2)
    >>> found.lower, found.upper, found.error <= 1e-2, found.certificate.check()
    (3, 3, True, True)
    >>> [found.upper for found in realize(M, atol=(1e-1, 1e-2))]
    [2, 3]
    """
    start = time.monotonic()
    asked, in_norm = _asked(rtol, atol, states, relative)
    if not number("realize", "time_limit", time_limit) > 0:
        raise DomainError(f"realize: time_limit is in seconds, and positive; got {time_limit}")
    blocks = as_blocks(M, "realize")
    radii = _radii(radius, blocks)
    answers: list[list[Answer]] = [[] for _ in asked]
    seconds = [0.0] * len(asked)
    now, left = start, len(blocks) * len(asked)
    for h, X in enumerate(blocks):
        op = operator(X, radii[h], in_norm)
        for i, each in enumerate(asked):
            begun = time.monotonic()
            deadline = begun + max(start + time_limit - begun, 0.0) / left
            if isinstance(each, float):
                answers[i].append(count_states(op, each, deadline))
            else:
                answers[i].append(best_error(op, each, deadline))
            now, last, left = time.monotonic(), now, left - 1
            seconds[i] += now - last
        for direction in op.directions:
            direction.kept.clear()
    found = []
    for i, each in enumerate(asked):
        result = report(answers[i], each, batch=np.ndim(M) in (3, 5))
        now, last = time.monotonic(), now
        found.append(replace(result, seconds=seconds[i] + now - last))
    return tuple(found) if _several(rtol) or _several(atol) else found[0]


def _several(error: Any) -> bool:
    """Whether more than one error may be given: a tuple or a list."""
    return isinstance(error, (tuple, list))


def _tolerances(rtol: Any, atol: Any) -> list[Tolerance]:
    """The errors that were asked for, all relative or all absolute."""
    name, errors = ("rtol", rtol) if atol is None else ("atol", atol)
    if (rtol is not None and atol is not None) or not _several(errors):
        return [tolerance("realize", rtol, atol)]
    if not errors:
        raise DomainError(f"realize: {name}={errors} holds no error; give at least one number")
    values = [number("realize", name, x) for x in errors]
    if name == "rtol":
        return [tolerance("realize", x, None) for x in values]
    return [tolerance("realize", None, x) for x in values]


def _asked(
    rtol: float | Errors | None,
    atol: float | Errors | None,
    states: int | None,
    relative: bool | None,
) -> tuple[list[float] | list[int], bool]:
    """The errors allowed (floats) or the number of states (an int), and if errors are relative."""
    if states is None:
        tols = _tolerances(rtol, atol)
        if any(tol.value == 0 for tol in tols):
            raise DomainError(
                "realize: the error must be positive; got 0. An exact system: minimal_realization."
            )
        if relative is not None:
            raise DomainError(
                f"realize: relative={relative} is for states= only; for an error give rtol= "
                "(relative to |M|) or atol= (absolute)"
            )
        return [tol.value for tol in tols], tols[0].relative
    if rtol is not None or atol is not None:
        raise DomainError(
            "realize: give an error (rtol= or atol=) or states=, not both; got "
            f"rtol={rtol}, atol={atol}, states={states}"
        )
    if not number("realize", "states", states).is_integer() or states < 0:
        raise DomainError(f"realize: states must be a whole number >= 0; got {states}")
    return [int(states)], relative is not False


@overload
def states_needed(
    mech_or_M: Any,
    u: Any = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    time_limit: float = 10.0,
    radius: Any = 0.0,
) -> Realization: ...


@overload
def states_needed(
    mech_or_M: Any,
    u: Any = None,
    *,
    rtol: Errors,
    atol: None = None,
    time_limit: float = 10.0,
    radius: Any = 0.0,
) -> tuple[Realization, ...]: ...


@overload
def states_needed(
    mech_or_M: Any,
    u: Any = None,
    *,
    rtol: None = None,
    atol: Errors,
    time_limit: float = 10.0,
    radius: Any = 0.0,
) -> tuple[Realization, ...]: ...


def states_needed(
    mech_or_M: Any,
    u: Any = None,
    *,
    rtol: Any = None,
    atol: Any = None,
    time_limit: float = 10.0,
    radius: Any = 0.0,
) -> Realization | tuple[Realization, ...]:
    """How many states a recurrence needs to do what a mechanism does on u, or what M does.

    `states_needed(mech, u)` is `realize(mech.kernel(u))`, with the same options; the claim is about
    the stored float64 kernel, and about the exact one if `radius` bounds their distance.  An LTV
    needs no u; a module of `to_torch` stands for its mechanism.  A tuple of errors gives a tuple.
    Raises what `realize` raises, ShapeError where u is missing, and DTypeError for a family.

    >>> import numpy as np
    >>> states_needed(np.tril(np.ones((8, 8))), rtol=1e-3).upper
    1
    """
    if isinstance(mech_or_M, (Family, str)):
        raise DTypeError(
            f"states_needed: {mech_or_M} is a family, which has no kernel. Draw one, and give that "
            f"the input: dsf.states_needed(dsf.family({str(mech_or_M)!r}).init(d=...), u)."
        )
    mech_or_M = unwrapped(mech_or_M)
    if isinstance(mech_or_M, Mechanism) and ops.is_torch(u):
        u = to_numpy(at_least_float32(u))
    if hasattr(mech_or_M, "kernel"):
        if u is None and not isinstance(mech_or_M, LTV):
            raise ShapeError(
                "states_needed: a mechanism has a kernel only once its input is known; pass u=[L d]"
            )
        M = mech_or_M.kernel() if u is None else mech_or_M.kernel(u)
    else:
        M = mech_or_M
    return realize(M, rtol=rtol, atol=atol, time_limit=time_limit, radius=radius)


def _radii(radius: Any, blocks: np.ndarray) -> list[float]:
    """A bound of the 2-norm of the uncertainty, per head."""
    try:
        rho = np.asarray(radius, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise DTypeError(f"realize: radius must hold numbers; got {radius!r}") from e
    if not (np.all(np.isfinite(rho)) and np.all(rho >= 0)):
        raise DomainError(
            "realize: radius must be finite and >= 0 (a number, or an array of M's shape)"
        )
    if rho.ndim == 0:
        return [float(rho)] * len(blocks)
    if rho.size != blocks.size:
        raise ShapeError(
            f"realize: radius must be a number or have the shape of M; got {rho.shape}"
        )
    return [max(fro(x) for x in rho.reshape(len(blocks), -1))] * len(blocks)
