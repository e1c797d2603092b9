"""The border of a mechanism: u and the parameters in one world and dtype, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dsf.core import ops, printing
from dsf.core.arrays import common_dtype, intake, to_numpy
from dsf.core.errors import (
    ContractError,
    DomainError,
    DTypeError,
    IllConditionedError,
    NonFiniteError,
    OverflowingScanError,
    ShapeError,
)
from dsf.core.fields import NEGATIVE
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import NUMPY, TORCH, world


def enter(mech: Any, u: Any) -> tuple[Any, Array]:
    """The mechanism and u [... L d] in one world and dtype, u contiguous; u itself is not touched.

    Raises DTypeError or ShapeError.
    """
    u = intake(mech.name, u)
    if u.ndim < 2 or u.shape[-1] != mech.d:
        raise ShapeError(
            f"{mech.name}: `u` must be [... L d] with d = {mech.d} (from the parameters); "
            f"got {tuple(u.shape)}. Likely cause: swapped axes [d L], or a missing length axis."
        )
    return _enter_torch(mech, u) if ops.is_torch(u) else _enter_numpy(mech, u)


def tokens(mech: Any, u: Any) -> tuple[Any, Array, Tokens]:
    """`enter`, then the tokens, checked: (mech, u, tokens).

    Raises OverflowingScanError where a finite row of u gives a token out of range, ContractError
    where the tokens are not those that the class declares.
    """
    mech, u = enter(mech, u)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        tok = mech.tokens(u)
        _refuse_undeclared(mech, tok)
        if ops.readable(u, *mech.parameters().values()):
            _refuse_overflow(mech, u, tok)
            _refuse_outside(mech, tok)
            mech.validate(tok)
    return mech, u, tok


def _refuse_undeclared(mech: Any, tok: Any) -> None:
    """ContractError unless the fields are those of the spec; positions are filled in later."""
    if not isinstance(tok, Tokens):
        raise ContractError(
            f"{mech.name}: tokens(u) must return Tokens(q=..., ...); got {type(tok).__name__}"
        )
    wanted = [k for k in mech.token_fields if k != "pos"]
    if {*tok.names} - {"pos"} != {*wanted}:
        raise ContractError(
            f"{mech.name}: tokens(u) gives the fields {', '.join(tok.names)}; the spec declares "
            f"{', '.join(wanted)}. Likely cause: a field left out of one of them, or misspelt."
        )


def check_state(mech: Any, state: Any, u: Array) -> None:
    """Raise DTypeError or ShapeError for a state that another mechanism or another input has made.

    The rule: the same library, device and precision as what u is computed in, the same batch axes.
    """
    if not isinstance(state, State):
        raise DTypeError(
            f"{mech.name}.run: `state` must be what `run` returned; got {type(state).__name__}. "
            "Likely cause: (y, state) swapped, or an array of states."
        )
    kept = set() if state.tail is None else set(state.tail.names)
    started = state.t > 0  # before the first token a state is empty
    if (started and mech.stateful == (state.S is None)) or not kept <= set(mech.token_fields):
        raise ShapeError(
            f"{mech.name}.run: the state does not belong to this mechanism: {state!r}. Likely "
            "cause: the state of another mechanism; start with state=None."
        )
    if world(*state.arrays(), u) in (NUMPY, TORCH) or ops.is_torch(u):
        for x in state.arrays():
            _same_kind(mech, x, u)
    _same_batch(mech, state, u)


def _same_kind(mech: Any, x: Array, u: Array) -> None:
    torch = ops.is_torch(x)
    if torch != ops.is_torch(u):
        raise DTypeError(
            f"{mech.name}.run: the state holds {_library(x)} and u is {_library(u)}. Likely cause: "
            "a state from before `to_torch`, or of `module.mech`; convert it with state.map(...)."
        )
    if torch and x.device != u.device:
        raise DTypeError(
            f"{mech.name}.run: the state is on {x.device} and u on {u.device}; move it with "
            "state.to(u.device)."
        )
    if x.real.dtype != u.dtype:
        raise DTypeError(
            f"{mech.name}.run: the state is {x.dtype}, and this input is computed in {u.dtype}. "
            "Likely cause: a state from before the precision was changed; convert it with "
            "state.map(...) (torch: state.to(dtype))."
        )


def _library(x: Array) -> str:
    return "a torch tensor" if ops.is_torch(x) else "a numpy array"


def _same_batch(mech: Any, state: State, u: Array) -> None:
    """The state [... H n p], or the rows [... H L n] that it keeps, have the batch axes of u."""
    axes = 3 if mech.has_heads else 2
    held = [tuple(x.shape[:-axes]) for x in state.arrays() if x.ndim >= axes]
    batch, wanted = max(held, key=len, default=()), tuple(u.shape[:-2])
    if held and batch != wanted:
        raise ShapeError(
            f"{mech.name}.run: the state has the batch axes {list(batch)}, and u has "
            f"{list(wanted)}. Likely cause: a smaller last batch, or the state of another stream; "
            "take the rows of state.map(lambda x: x[i]), or start with state=None."
        )


def nonzero(mech: Any, eta: Array) -> Array:
    """A normaliser, or DomainError where it is exactly 0 (float worlds)."""
    if ops.readable(eta) and bool((eta == 0).any()):
        raise DomainError(
            f"{mech.name}: the normaliser is exactly 0 at some token, so the output is undefined. "
            "Likely cause: zero keys, or features without a positive lower bound. Use positive "
            "features (elu+1, exp) or drop the normaliser."
        )
    return eta


@contextmanager
def named(mech: Any) -> Iterator[None]:
    """Overflow and lost digits inside the equations are reported under the mechanism's name."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except OverflowingScanError as e:
        index = None if e.index is None else e.index // mech.substeps
        raise OverflowingScanError.at(index, f"{mech.name}: {e}") from None
    except IllConditionedError as e:
        raise IllConditionedError(f"{mech.name}: {e}") from None


def explain(mech: Any, u: Array, y: Array, states: list[Any]) -> None:
    """Say why y holds NaN or infinity although u and the incoming state do not.

    Raises OverflowingScanError with the first token, or NonFiniteError for a bad parameter; returns
    where the input itself is not finite: NaN and infinity propagate as the formula sends them.
    """
    if not all(_finite(x).all() for x in [u, *states]):
        return
    _refuse_bad_parameters(mech)
    bad = ~_rows(_finite(y))
    where = f"the output left the range of {y.dtype} at {_token(int(bad.argmax()), len(bad))}"
    if not bad.any():
        where = f"the state left the range of {y.dtype} within these {len(bad)} tokens"
    raise OverflowingScanError.at(
        int(bad.argmax()) if bad.any() else None,
        f"{mech.name}: {where}, although the input is finite. Likely cause: input too large for "
        "the products or exponentials of this mechanism; rescale it or use a wider dtype.",
    )


# ------------------------------------------------------------------------- arrays
def _enter_numpy(mech: Any, u: np.ndarray) -> tuple[Any, np.ndarray]:
    held = mech.parameters().values()
    if any(ops.is_torch(x) for x in held):
        raise DTypeError(
            f"{mech.name}: `u` is a numpy array and the parameters are torch tensors. Pass "
            "torch.as_tensor(u), or take the numpy mechanism (`module.mech`)."
        )
    floats = [x for x in held if x.dtype.kind == "f"]
    if any(x.dtype == np.float16 for x in floats):
        mech = mech.map(lambda x: x.astype(common_dtype(x)) if x.dtype.kind == "f" else x)
    if u.dtype != object:  # constants of the equations are made in the dtype of u
        u = u.astype(common_dtype(u, *floats), copy=False)
    return mech, u


def _enter_torch(mech: Any, u: Any) -> tuple[Any, Any]:
    import torch

    held = {
        k: x if ops.is_torch(x) else torch.as_tensor(x if x.flags.writeable else x.copy())
        for k, x in mech.parameters().items()
    }
    kind = common_dtype(u, *held.values())
    mech = mech.map(_Take({k: x.to(device=u.device, dtype=kind) for k, x in held.items()}))
    return mech, u.to(kind).contiguous()


class _Take:
    """For `Mechanism.map`: parameters by name."""

    named = True

    def __init__(self, held: dict[str, Any]) -> None:
        self.held = held

    def __call__(self, x: Array, name: str) -> Array:
        return self.held[name]


# ---------------------------------------------------------------------- finiteness
def _finite(x: Array) -> np.ndarray:
    return np.asarray(np.isfinite(to_numpy(x)))


def _rows(holds: np.ndarray) -> np.ndarray:
    """Whether it holds in every entry of a row of the time axis (the last but one)."""
    return np.asarray(holds.all(tuple(a for a in range(holds.ndim) if a != holds.ndim - 2)))


def _refuse_outside(mech: Any, tok: Tokens) -> None:
    """A token beyond the ends of its domain, which no equation of the paper makes.

    The ends themselves may be reached by rounding; the lengths of unit vectors are not looked at.
    """
    for name, x in tok.items():
        field = mech.token_fields[name]
        low, high = field.domain.low, field.domain.high
        if low is None and high is None:
            continue
        if low is not None and bool((x < low).any()):
            worst = x.min().item()
        elif high is not None and bool((x > high).any()):
            worst = x.max().item()
        else:
            continue
        raise DomainError(
            f"{mech.name}: the token {name} leaves its domain {field.domain}: {worst:.6g}. Likely "
            "cause: a parameter of the wrong sign, or one that was meant to pass an exponential or "
            "a sigmoid first."
        )


def _refuse_overflow(mech: Any, u: Array, tok: Tokens) -> None:
    """A token out of range from a finite row of u; -inf is the closed end of a log-gate.

    Without this, an infinite normaliser or step size would become a silent zero.
    """
    good_rows = _rows(_finite(u))
    for name, x in tok.items():
        field, found = mech.token_fields[name], _finite(x)
        if found.all():
            continue
        if field.domain == NEGATIVE:
            found = found | (to_numpy(x) == -np.inf)
        bad = ~_rows(found)
        if not field.per_token:
            if bad.any():
                _refuse_bad_parameters(mech)
            continue
        rows = (
            bad.reshape(len(good_rows), mech.substeps if "sL" in field.axes else 1).any(-1)
            & good_rows
        )
        if rows.any():
            _refuse_bad_parameters(mech)
            raise OverflowingScanError.at(
                int(rows.argmax()),
                f"{mech.name}: token field `{name}` left the range of {x.dtype} at "
                f"{_token(int(rows.argmax()), len(rows))}, although its input is finite. Likely "
                "cause: input too large for an exponential or a projection; rescale it or use a "
                "wider dtype.",
            )


def _refuse_bad_parameters(mech: Any) -> None:
    for name, x in mech.parameters().items():
        if ops.is_float(x) and not _finite(x).all():
            raise NonFiniteError(
                f"{mech.name}: the parameter {name} {printing.axes(x)} holds NaN or "
                "infinity. Likely cause: a training step that diverged."
            )


def _token(index: int, length: int) -> str:
    return f"token {index + 1} of {length} (index {index})"
