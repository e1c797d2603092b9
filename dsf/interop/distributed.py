"""One sequence over the processes of a torch.distributed group, a contiguous slice in each.

    1  slices meet: lengths, and the last rows of each where a mechanism looks back
    2  each rank sums its slice up from the state 0: an element (A, b), S -> A S + b
    3  one all-gather of the elements; each rank folds those before its own into its first state
    4  each rank runs its slice from that state, as `mech.run` does

As in LASP-2 what travels does not depend on the length: b [H n p], and of A [H n|1] (diagonal),
[H n n] (a matrix), or factors where a slice is short (`dsf.core.stretch`).  Softmax attention has
no such summary: there all rows travel.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from dsf.core import border, ops
from dsf.core.arrays import to_numpy
from dsf.core.errors import DTypeError, NotLinearError, OverflowingScanError, RankError
from dsf.core.kinds import Recurrence, Step
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.parts import counted
from dsf.core.state import State
from dsf.core.stretch import element, fold
from dsf.core.system import Element
from dsf.core.tokens import Tokens
from dsf.core.transition import Dense, Diag, LowRank, Transition
from dsf.interop.module import Module

Shapes = list[tuple[int, ...]]


def scan(
    mech: Mechanism | Module, u: Array, group: dist.ProcessGroup | None = None
) -> tuple[Array, State]:
    """This rank's slice of mech(u), and the state after its last token, for this rank's slice of u.

        S_in = A_{r-1} ( ... (A_1 b_0 + b_1) ... ) + b_{r-1},     (y, state) = run(slice, S_in)

    mech   the same on every rank; with a state of any structure, or softmax attention, whose
           traffic and memory grow with the length
    u      [... L_r d]: rank r holds the rows after those of rank r-1; lengths may differ and be 0
    group  of torch.distributed, the default one if None; gloo for a CPU, nccl for GPUs

    Computed in the dtype of `mech(u)` and equal to it within rounding; the state of the last rank
    is that of the whole sequence.  Every rank has to call it; what is refused on one raises on all.

    Gradients of torch: each rank gets those of the sum of all ranks' losses with respect to its
    slice, so every rank has to go backward; those of parameters are this rank's share, to be summed
    over the ranks (`all_reduce`).  Second derivatives and torch.func raise RuntimeError.

    Raises RankError where there is no group, where ranks hold different mechanisms, parameters,
    dtypes or batch axes, or where another rank fails; NotLinearError for a nonlinear step;
    OverflowingScanError with the token's number in the whole sequence; else what `mech.run` does.

    >>> import dsf
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> mech, u = dsf.gla.init(d=4).to_torch(), torch.ones(5, 4, dtype=torch.float64)
    >>> y, state = dsf.distributed.scan(mech, u)
    >>> torch.equal(y, mech(u)), state.t
    (True, 5)
    >>> dist.destroy_process_group()
    """
    return scan_over(mech, u, Group(group))


# ------------------------------------------------------------------------- ranks
class Ranks(Protocol):
    """What `scan_over` needs of a group of processes."""

    rank: int
    size: int

    def objects(self, x: Any) -> list[Any]:
        """A small object of each rank."""

    def arrays(self, own: list[Array], shapes: list[Shapes]) -> list[list[Array]]:
        """The arrays of each rank; their shapes are known to all."""

    def tied(self, x: Array, received: list[Array]) -> Array:
        """x, so that a backward pass from it reaches `received` on every rank."""


class Group:
    """The ranks of a process group of torch."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise RankError(
                "distributed.scan: there is no process group. Start the program with torchrun and "
                "call torch.distributed.init_process_group('gloo'), or 'nccl' for GPUs, first."
            )
        self.group, self.rank = group, dist.get_rank(group)
        if self.rank < 0:
            raise RankError(
                "distributed.scan: this process is not in the given group. Call it in the "
                "processes of the group only."
            )
        self.size = dist.get_world_size(group)
        self.device = "cuda" if "nccl" in dist.get_backend(group) else "cpu"

    def objects(self, x: Any) -> list[Any]:
        found = [None] * self.size
        dist.all_gather_object(found, x, self.group)
        return found

    def arrays(self, own: list[Array], shapes: list[Shapes]) -> list[list[Array]]:
        """One all-gather of flat vectors, each filled up to the longest."""
        tensors = [x if ops.is_torch(x) else torch.tensor(x) for x in own]
        home, is_complex = tensors[0].device, tensors[0].is_complex()
        pair = 2 if is_complex else 1
        if is_complex:
            tensors = [torch.view_as_real(x.resolve_conj()) for x in tensors]
        flat = torch.cat([x.flatten() for x in tensors])
        longest = pair * max(sum(map(_size, held)) for held in shapes)
        flat = torch.nn.functional.pad(flat, (0, longest - len(flat))).to(self.device)
        rows = _Gathered.apply(flat, self).to(home)
        found = []
        for row, held in zip(rows, shapes, strict=True):
            pieces = row[: pair * sum(map(_size, held))].split([pair * _size(s) for s in held])
            if is_complex:
                pieces = [torch.view_as_complex(x.reshape(-1, 2)) for x in pieces]
            back = [x.reshape(s) for x, s in zip(pieces, held, strict=True)]
            found.append(back if ops.is_torch(own[0]) else [x.numpy() for x in back])
        return found

    def tied(self, x: Array, received: list[Array]) -> Array:
        if not ops.is_torch(x) or not any(r.requires_grad for r in received):
            return x
        return _Tied.apply(x, *received)


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


class _Gathered(torch.autograd.Function):
    """x [k] of every rank [ranks k]; backward each gets the sum of what all say of its x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ranks: Group) -> torch.Tensor:
        ctx.ranks = ranks
        rows = [torch.empty_like(x) for _ in range(ranks.size)]
        dist.all_gather(rows, x.contiguous(), ranks.group)
        return torch.stack(rows)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = grad.contiguous().clone()
        dist.all_reduce(total, group=ctx.ranks.group)
        return total[ctx.ranks.rank], None


class _Tied(torch.autograd.Function):
    """The first argument; the others get zeros, so that every rank passes through its collectives.

    Without it the first rank, whose output does not depend on the others, would not take part in
    the backward pass of the all-gather, and the others would wait for ever.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *received: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*received)
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return grad, *(torch.zeros_like(x) for x in ctx.saved_tensors)


# ------------------------------------------------------------------------- steps
@dataclass(frozen=True)
class Slice:
    """What a rank tells of its slice; `same` has to be the same on every rank."""

    length: int
    rows: tuple[int, ...]  # the shape of its last rows, which later ranks may read
    same: dict[str, Any]


def scan_over(mech: Mechanism | Module, u: Array, ranks: Ranks) -> tuple[Array, State]:
    """`scan` over ranks of any kind: the steps at the head of this file."""
    live = mech.live() if isinstance(mech, Module) else mech
    received: list[Array] = []

    def exchanged(own: list[Array], shapes: list[Shapes]) -> list[list[Array]]:
        if told[ranks.rank].same["gradients"]:  # also where a slice is empty: all go backward
            own = [y if y.requires_grad else y.detach().requires_grad_() for y in own]
        found = ranks.arrays(own, shapes)
        received.extend(y for held in found for y in held)
        return found

    (ready, x), told = _meet(ranks, lambda: _slice(live, u))
    _refuse_different(live.name, [s.same for s in told], ranks.rank)
    before = sum(s.length for s in told[: ranks.rank])
    rows: list[Array] = []
    if live.lookback != 0:
        own = told[ranks.rank]
        last = x[..., own.length - own.rows[-2] :, :]
        rows = [held[0] for held in exchanged([last], [[s.rows] for s in told])][: ranks.rank]
    try:
        state = State(None, _tail(live, rows, before), before)
        if isinstance(live, Recurrence):
            sums, kinds = _meet(ranks, lambda: _summed_up(ready, x, state))
            every = exchanged(sums, [shapes for _, shapes in kinds])
            earlier = [_rebuilt(kinds[r][0], every[r]) for r in range(ranks.rank)]
            state = State(fold(earlier) if before else None, state.tail, before)
        y, state = mech.run(u, state)
    except OverflowingScanError as e:
        raise counted("distributed.scan", e, before) from e
    return ranks.tied(y, received), state.map(lambda x: ranks.tied(x, received))


def _meet(ranks: Ranks, compute: Callable[[], tuple[Any, Any]]) -> tuple[Any, list[Any]]:
    """compute() gives what stays here and what is told to all; an error in one ends all of them."""
    kept, told, failure = None, None, None
    try:
        kept, told = compute()
    except Exception as e:  # whatever it is: the others wait for an answer
        failure = e
    every = ranks.objects((told, failure and f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        raise failure
    for rank, (_, problem) in enumerate(every):
        if problem:
            raise RankError(
                f"distributed.scan: rank {rank} could not do its part, so no rank can go on. It "
                f"says: {problem}"
            )
    return kept, [x for x, _ in every]


def _slice(mech: Mechanism, u: Array) -> tuple[tuple[Mechanism, Array], Slice]:
    """(mech, u) in one dtype, and what there is to tell of them."""
    if isinstance(mech, Step):
        raise NotLinearError(
            f"distributed.scan: the step of {mech.name} is not affine in its state, so a slice "
            "cannot be summed up apart from what precedes it. Run the sequence on one rank: "
            "dsf.simulate."
        )
    entered, u = border.enter(mech, u)
    dtype = str(u.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise DTypeError(
            f"distributed.scan: numbers travel as float32 or float64; {mech.name} would compute "
            f"in {dtype}. Convert u and the parameters."
        )
    L = u.shape[-2]
    keep = L if mech.lookback is None else min(mech.lookback, L)
    gradients = torch.is_grad_enabled() and any(
        ops.is_torch(x) and x.requires_grad for x in (u, *entered.parameters().values())
    )
    parameters = {k: (tuple(x.shape), _checksum(x)) for k, x in entered.parameters().items()}
    same = {
        "mechanism": mech.name, "options": mech.options(), "parameters": parameters,
        "dtype": dtype, "batch axes of u": tuple(u.shape[:-2]), "gradients": gradients,
    }  # fmt: skip
    return (entered, u), Slice(L, (*u.shape[:-2], keep, u.shape[-1]), same)


def _checksum(x: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(x)).tobytes())


def _refuse_different(name: str, told: Sequence[dict[str, Any]], rank: int) -> None:
    for what, own in told[rank].items():
        other = next((r for r, same in enumerate(told) if same[what] != own), None)
        if other is None:
            continue
        shown = f"{own} on rank {rank}, {told[other][what]} on rank {other}"
        if what == "parameters":
            named = [k for k, x in own.items() if told[other][what].get(k) != x]
            shown = f"{', '.join(named) or 'their names'} on the ranks {rank} and {other}"
        raise RankError(
            f"distributed.scan: the ranks have to hold slices of one sequence and the same {name}, "
            f"and {what} differ: {shown}. Likely cause: parameters drawn with another seed on each "
            "rank (broadcast them), or slices of different inputs."
        )


def _tail(mech: Mechanism, rows: list[Array], before: int) -> Tokens | None:
    """What this rank's tokens read of the rows before them, all of which the ranks before hold."""
    if not rows or not before:
        return None
    u = ops.cat(rows, -2)
    u = u if mech.lookback is None else u[..., max(u.shape[-2] - mech.lookback, 0) :, :]
    mech, u, tok = border.tokens(mech, u)
    return mech.tail_of(mech.behind(tok, State(t=before - u.shape[-2]))[1])


def _summed_up(mech: Recurrence, u: Array, state: State) -> tuple[list[Array], tuple[str, Shapes]]:
    """The arrays of the element of a slice, and its kind and their shapes."""
    mech, u, tok = border.tokens(mech, u)
    with border.named(mech):
        tok, full = mech.behind(tok, state)
        e = element(*mech.system_after(full, mech.length(tok)))
    arrays = [*_arrays(e.A), e.b]
    return arrays, (type(e.A).__name__, [tuple(x.shape) for x in arrays])


def _arrays(A: Transition) -> list[Array]:
    if isinstance(A, LowRank):
        return [A.diag.values(), A.U, A.W]
    return [A.values()] if isinstance(A, Diag) else [A.dense()]


def _rebuilt(kind: str, arrays: list[Array]) -> Element:
    *A, b = arrays
    if kind == "LowRank":
        return Element(LowRank(Diag(a=A[0]), A[1], A[2]), b)
    return Element(Diag(a=A[0], size=b.shape[-2]) if kind == "Diag" else Dense(A[0]), b)
