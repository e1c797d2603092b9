"""`distil`: from a head, a kernel or a mechanism to a recurrence with few states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np

from dsf.core import catalogue
from dsf.core.arrays import to_numpy
from dsf.core.errors import DomainError, NonFiniteError, ShapeError, UnknownNameError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.system import LTV
from dsf.models.distil import fit, frozen, gauge, starts
from dsf.models.distil.floor import floors
from dsf.models.distil.learned import Learned
from dsf.models.distil.report import Distilled, Row
from dsf.models.distil.student import drawn, fitted, regressed, require_loss
from dsf.states import Realization, realize
from dsf.states.inputs import as_blocks, number

DENSE = "ltv"  # any linear recurrence: transitions are dense


@overload
def distil(
    kernel: Any, into: Literal["ltv"], states: int, *, inputs: Any = None
) -> Realization: ...


@overload
def distil(
    kernel: Any, into: str | Family = "gla", states: int | Sequence[int] = (1, 2, 4, 8), *,
    inputs: None = None, iterations: int = fit.ITERATIONS, seed: int = 0,
) -> Distilled: ...  # fmt: skip


@overload
def distil(
    kernel: Any, into: str | Family = "gla", states: int = 8, *, inputs: Any,
    start: str | Mapping[str, Any] = "realization", loss: str = "kernel", values: Any = None,
    iterations: int = fit.ITERATIONS, seed: int = 0,
) -> Learned: ...  # fmt: skip


def distil(
    kernel: Any, into: str | Family = "gla", states: Any = (1, 2, 4, 8), *, inputs: Any = None,
    start: str | Mapping[str, Any] = "realization", loss: str = "kernel", values: Any = None,
    iterations: int = fit.ITERATIONS, seed: int = 0,
) -> Distilled | Learned | Realization:  # fmt: skip
    """How near a class of recurrences comes to a causal kernel M [L L] with so many states.

        floor <= |M - M^|_F / |M|_F,   strictly below the diagonal

    The floor is proved, for every linear recurrence.  Truncations have dense transitions; the
    student has those of the class `into`, a recurrence of the catalogue, with tokens that are free
    numbers: frozen for this sequence.  It starts from the truncation in a gauge in which it nearly
    belongs to the class (gla, rwkv6), from the kernel of the fitted gla (gated_deltanet, deltanet,
    mamba2), others from half as many states; then `iterations` of L-BFGS on all tokens.  Frozen,
    mamba2 is no smaller a class than gla, but its queries and keys may grow to 1e60 on a head that
    looks one token back.  float64; seconds for each number of states at L = 128; needs torch.

    With `inputs` [L d] or [B L d] of kernels [L L] or [B L L], or with a mechanism of one head in
    place of these, the student is an instance of the class, whose tokens are maps of the inputs.
    It starts from the frozen student of the first sequence, regressed on its inputs
    (start="realization"), from random parameters ("drawn"), or from some that are given by name,
    such as a teacher's projections.  Losses: "kernel" as above, "output" the same of the product
    with values [B L p], "kl" the mean divergence of rows, for classes whose rows are probabilities.

    With into="ltv" a recurrent layer on its inputs, an LTV or a kernel of any shape that
    `dsf.realize` takes becomes a system of fewer states with dense transitions, and both bounds of
    the error are proved in the operator norm: `realize(M, states=n)`.

    Raises DomainError for a kernel that is not causal, states below 1 or a loss that does not fit,
    ShapeError, DTypeError, NonFiniteError, UnknownNameError, NotLinearError for a class without
    free q, k and gates.

    >>> import numpy as np
    >>> t = np.arange(24)
    >>> M = np.tril(1 / (1 + np.subtract.outer(t, t).clip(0)))
    >>> row = distil(M, "gla", states=2).row()
    >>> bool(row.floor.lower <= row.fitted <= row.sequential), row.floor.check()
    (True, True)
    """
    if into == DENSE:
        return _reduced(kernel, states, inputs)
    import torch

    family = catalogue.family(into)
    frozen.student(family)
    if number("distil", "iterations", iterations) < 0:
        raise DomainError(f"distil: iterations must be >= 0; got {iterations}")
    if inputs is None:
        with torch.inference_mode(False):
            return _frozen(causal(kernel), family, _counts(states), iterations, seed)
    require_loss(loss, family, values)
    M, u = read(kernel, inputs)
    n, *more = _counts(states)
    if more:
        raise DomainError(f"distil: with inputs= give one number of states; got {states!r}")
    v = None if values is None else _values(values, M)
    with torch.inference_mode(False):
        first = _started(M[0], u[0], family, n, start, iterations, seed)
        last = fitted(first, M, u, loss, v, iterations)
    shown = start if isinstance(start, str) else f"given {', '.join(start)}"
    floor = [floors(x, (n,))[0] for x in M]
    return Learned(first, last, tuple(floor), u, loss, shown)


def _reduced(layer: Any, states: Any, inputs: Any) -> Realization:
    """The certified truncation of a layer on its inputs, of an LTV, or of kernels of any heads."""
    n, *more = _counts(states)
    if more:
        raise DomainError(f"distil: into={DENSE!r} takes one number of states; got {states!r}")
    layer = catalogue.unwrapped(layer)
    if isinstance(layer, LTV):
        layer = layer.kernel()
    elif isinstance(layer, Mechanism):
        if inputs is None:
            raise ShapeError("distil: a mechanism has a kernel on inputs only; give inputs=[L d]")
        layer = layer.kernel(to_numpy(inputs))
    return realize(layer, states=n)


def read(kernel: Any, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Causal kernels [B L L] and their inputs [B L d], float64; ShapeError if they do not fit."""
    u = np.asarray(to_numpy(inputs), dtype=np.float64)
    u = u if u.ndim == 3 else u[None]
    teacher = catalogue.unwrapped(kernel)
    if isinstance(teacher, Mechanism):
        M = np.asarray(teacher.kernel(u))
        if M.ndim != 4 or M.shape[1] != 1:
            raise ShapeError(f"distil: {teacher.name} must have one head; got {M.shape[1:2]}")
        M = M[:, 0]
    else:
        M = np.asarray(to_numpy(kernel), dtype=np.float64)
        M = M if M.ndim == 3 else M[None]
    if u.ndim != 3 or M.ndim != 3 or u.shape[:2] != M.shape[:2]:
        raise ShapeError(
            f"distil: kernels [B L L] need inputs [B L d]; got {M.shape} and {u.shape}"
        )
    if not len(u) or not u.size:
        raise ShapeError(f"distil: inputs of shape {u.shape} hold nothing; give a sequence")
    if not np.isfinite(u).all():
        raise NonFiniteError("distil: the inputs hold NaN or infinity")
    return np.stack([causal(x) for x in M]), u


def _frozen(
    M: np.ndarray, family: Family, counts: Sequence[int], iterations: int, seed: int
) -> Distilled:
    mech = frozen.student(family)
    rows, kept = [], starts.Fits()
    for n, floor in zip(counts, floors(M, counts), strict=True):
        start, best = starts.best(M, family, n, seed, iterations, kept)
        truncated = (gauge.balanced(M, n).kernel(), gauge.sequential(M, n).kernel())
        students = (frozen.kernel(mech, tok) for tok in (start, best))
        errors = [fit.error(M, other) for other in (*truncated, *students)]
        rows.append(Row(floor, best, *errors))
    return Distilled(family, tuple(rows))


def _started(
    M: np.ndarray, u: np.ndarray, family: Family, n: int, start: str | Mapping[str, Any],
    iterations: int, seed: int,
) -> Mechanism:  # fmt: skip
    """The instance from which training starts."""
    copied = {} if isinstance(start, str) else dict(start)
    mech = drawn(family, u.shape[-1], n, seed, copied)
    if not isinstance(start, str) or start == "drawn":
        return mech
    if start != "realization":
        raise UnknownNameError(
            f"distil: start must be 'realization', 'drawn' or parameters by name; got {start!r}"
        )
    tok = starts.best(M, family, n, seed, iterations, starts.Fits())[1]
    return regressed(mech, tok, u, iterations)


def _values(values: Any, M: np.ndarray) -> np.ndarray:
    v = np.asarray(to_numpy(values), dtype=np.float64)
    v = v if v.ndim == 3 else v[None]
    if v.ndim != 3 or v.shape[:2] != M.shape[:2]:
        raise ShapeError(f"distil: values must be [B L p] with kernels {M.shape}; got {v.shape}")
    return v


def causal(kernel: Any) -> np.ndarray:
    """M [L L] as float64, lower triangular; DomainError where it looks ahead."""
    blocks = as_blocks(kernel, "distil", heads=False)
    if blocks.shape[1] != 1 or blocks.shape[3] != 1:
        raise ShapeError(f"distil: the kernel must be [L L]; got {np.shape(kernel)}")
    M = blocks[:, 0, :, 0]
    if not len(M):
        raise ShapeError("distil: the kernel is about no token; give at least one")
    ahead = np.argwhere(np.triu(M, 1))
    if len(ahead):
        i, j = map(int, ahead[0])
        raise DomainError(
            f"distil: the kernel must be causal; row {i} has {M[i, j]:.3g} on the later token {j}. "
            "Distil the two directions apart: np.tril(M), and np.tril(M[::-1, ::-1])."
        )
    return M


def _counts(states: int | Sequence[int]) -> tuple[int, ...]:
    given = tuple(states) if isinstance(states, (tuple, list)) else (states,)
    if not given or any(not number("distil", "states", n).is_integer() or n < 1 for n in given):
        raise DomainError(f"distil: states must be whole numbers of at least 1; got {states!r}")
    return tuple(int(n) for n in given)
