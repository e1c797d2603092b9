"""State space models of scipy.signal and python-control: constant, real, read before the update."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import DTypeError, MissingExtraError, ShapeError, TimeVaryingError
from dsf.core.system import LTV
from dsf.interop.steps import Head, head_index, step_matrices


def to_scipy(ltv: LTV, at: int | None = None, head: Head = None) -> Any:
    """A time-invariant system, or one step of another, as `scipy.signal.StateSpace` with dt = 1.

        x_{k+1} = A x_k + B u_k,   y_k = C' x_k + D' u_k,   x_k = S_{k-1}
        read="after":   C' = C A,  D' = C B + D          read="before":   C' = C,  D' = D

    The state before step k is x_k, so x_0 = 0 is our zero start and outputs agree without a delay.
    The result is one of the p equal columns: u [L m], y [L r].  A complex system becomes the real
    one of twice the size whose output is the real part, for real inputs.  `at` chooses a step;
    `head` is the index of a head, or one index per axis left of time.  float64.

    Raises TimeVaryingError, naming which of A, B, C, D varies, if `at` is not given and one does;
    ShapeError if several heads exist and none is chosen; DTypeError for symbols and balls.

    >>> import dsf
    >>> from scipy.signal import dlsim
    >>> u = np.arange(12.0).reshape(4, 3)
    >>> mech = dsf.lru.init(d=3, n=2)
    >>> _, y, _ = dlsim(dsf.interop.to_scipy(mech.ltv(u)), u)
    >>> bool(np.allclose(y, mech(u), rtol=1e-12))
    True
    """
    from scipy.signal import StateSpace

    return StateSpace(*_constant_matrices(ltv, at, head, "to_scipy"), dt=1)


def to_control(ltv: LTV, at: int | None = None, head: Head = None) -> Any:
    """The same as `to_scipy`, as a `control.StateSpace` in discrete time (dt = True).

    Needs the optional package python-control and raises MissingExtraError without it; otherwise
    raises what `to_scipy` raises.

    >>> import dsf
    >>> ltv = dsf.retnet.init(d=2, n=1, p=1).ltv(np.ones((3, 2)))
    >>> dsf.interop.to_control(ltv, at=0).nstates
    1
    """
    try:
        import control
    except ImportError as e:
        raise MissingExtraError(
            "to_control: python-control is not installed. Install the extra 'interop' of this "
            "package, or use to_scipy, which needs nothing more."
        ) from e
    return control.ss(*_constant_matrices(ltv, at, head, "to_control"), True)


def _constant_matrices(ltv: LTV, at: int | None, head: Head, who: str) -> tuple[np.ndarray, ...]:
    """Real A, B, C, D in the convention x_{k+1} = A x_k + B u_k, y_k = C x_k + D u_k."""
    index = head_index(ltv, head, who)
    if not ops.is_float(*ltv.arrays()):
        raise DTypeError(
            f"{who}: a state space model holds floating-point numbers; this system holds symbols "
            "or balls. Use to_sympy, or build the system from numbers."
        )
    if at is None:
        _refuse_varying(ltv, index, who)
    elif not -ltv.length <= at < ltv.length:
        raise ShapeError(f"{who}: at must be a step of 0 .. {ltv.length - 1}; got {at}")
    A, B, C, D = step_matrices(ltv, 0 if at is None else at % ltv.length, index)
    if ltv.read == "after":
        C, D = C @ A, C @ B + D
    if any(np.iscomplexobj(x) for x in (A, B, C, D)):
        A = np.block([[A.real, -A.imag], [A.imag, A.real]])
        B = np.concatenate([B.real, B.imag])
        C, D = np.concatenate([C.real, -C.imag], axis=1), D.real
    return tuple(np.array(x, dtype=np.float64) for x in (A, B, C, D))


def _refuse_varying(ltv: LTV, index: tuple[int, ...], who: str) -> None:
    """TimeVaryingError if a coefficient differs from its first value at some step."""
    if ltv.constant:
        return
    first = step_matrices(ltv, 0, index)
    changed: dict[str, int] = {}
    for t in range(1, ltv.length):
        for name, x, x0 in zip("ABCD", step_matrices(ltv, t, index), first, strict=True):
            if not np.array_equal(x, x0):
                changed.setdefault(name, t)
        if len(changed) == 4:
            break
    if changed:
        names = sorted(changed)
        verb = "varies" if len(names) == 1 else "vary"
        steps = ", ".join(f"{name} at step {changed[name]}" for name in names)
        raise TimeVaryingError(
            f"{who}: {' and '.join(names)} {verb} over time (first change: {steps}), and a state "
            "space model has constant matrices. Likely cause: gates, keys or queries that depend "
            "on the token. Choose one step with at=i, or keep the system and use ltv.scan."
        )
