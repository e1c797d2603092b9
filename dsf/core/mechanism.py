"""Mechanisms: what turns an input sequence into a linear time-varying system, written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from dsf.core import border, ops, printing
from dsf.core.checks import LIMIT, all_finite, check_size
from dsf.core.errors import DomainError, NotLinearError, ShapeError
from dsf.core.facts import Facts
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Field, Tokens
from dsf.core.transition import Coefficient, Prod, Shift
from dsf.core.worlds import ARB


@dataclass(frozen=True, eq=False)
class Mechanism:
    """Base class.  A mechanism's fields are parameter arrays and static options; its equations are

        tokens(u) -> Tokens           pointwise in time: projections, gates, feature maps
        system(tok) -> LTV, X         the recurrence and what drives it      } exactly
        rows(tok, L) -> M, X          attention weights of the last L rows   } one of
        step(S, tok) -> o, S          a nonlinear step                       } these three
        readout(o, tok) -> o          static output map (default: division by `normaliser`, if any)

    An input u [... L d] is computed in the wider dtype of u and the parameters, at least float32;
    integers and lists in float64.  bool, text and complex raise DTypeError: see `dsf.core.arrays`.

    `system` never reads the parameter arrays: constants are token fields with time axis 1, so that
    statements "for all tokens" are about this code.  With lookback = w, `system` receives w extra
    earlier rows (zeros at the start), `rows` those that exist (None: all of them).
    """

    spec: ClassVar[Mapping[str, str]] = {}
    equations: ClassVar[tuple[str, str]]  # state update and output, for printouts
    conventions: ClassVar[tuple[str, ...]] = ()  # scalings that another library may not have
    facts: ClassVar[Facts]
    lookback: ClassVar[int | None] = 0
    forgotten: ClassVar[tuple[str, ...]] = ()  # fields of earlier tokens that `rows` never reads
    choices: ClassVar[Mapping[str, Any]] = {}  # option -> allowed values, or the least integer
    heads: ClassVar[bool] = True  # whether coefficients carry a head (or channel) axis

    # ----------------------------------------------------- written by authors
    def tokens(self, u: Array) -> Tokens:
        """The tokens of an input u [... L d]; row i depends on u_i only."""
        raise NotImplementedError

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        """The linear system that the tokens make, and the values X [... L m p] that drive it."""
        raise NotImplementedError

    def readout(self, o: Array, tok: Tokens) -> Array:
        """Output map on o [... L r p]; by default o without its last column over the normaliser."""
        eta = self.normaliser(o, tok)
        return o if eta is None else o[..., :-1] / _nonzero(eta, type(self).__name__)

    def normaliser(self, o: Array, tok: Tokens) -> Array | None:
        """eta [... L 1 1] from the output of the appended value 1, or None."""
        return None

    @property
    def micro(self) -> int:
        """Micro-steps per token, of which the last is read."""
        return 1

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> Any:
        """An instance with parameters drawn as in its paper; called by `Family.init`."""
        raise NotImplementedError

    def check(self, tok: Tokens) -> None:
        """Warn about tokens that compute but are probably not meant (float worlds only)."""

    # ------------------------------------------------------- sizes and worlds
    @cached_property
    def token_fields(self) -> dict[str, Field]:
        """The parsed token spec."""
        return {name: Field.parse(text) for name, text in self.spec.items()}

    def parameters(self) -> dict[str, Array]:
        """The parameter arrays by name.

        >>> import dsf
        >>> sorted(dsf.softmax.init(d=2).parameters())
        ['Wk', 'Wq', 'Wv']
        """
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in named.items() if isinstance(v, np.ndarray) or ops.is_torch(v)}

    def options(self) -> dict[str, Any]:
        """The static options by name.

        >>> import dsf
        >>> dsf.s4d.init(d=2).options()
        {'discretisation': 'zoh'}
        """
        arrays = self.parameters()
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in arrays}

    def map(self, f: Callable[..., Array]) -> Any:
        """f applied to every parameter: symbols, balls, torch, float32, another device.

        >>> import dsf
        >>> dsf.gla.init(d=2).map(np.float32)(np.ones((3, 2), dtype=np.float32)).dtype
        dtype('float32')
        """
        if getattr(f, "named", False):  # dsf.symbols wants to know which parameter it names
            return replace(self, **{k: f(v, k) for k, v in self.parameters().items()})
        return replace(self, **{k: f(v) for k, v in self.parameters().items()})

    @property
    def d(self) -> int:
        """Model width: the axis of u that the projections read."""
        return self.parameters()["Wq"].shape[-2]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """d, H and the sizes of the token axes, read off the arrays.

        >>> import dsf
        >>> sizes = dsf.gla.init(d=4, n=2, p=3, heads=5).sizes
        >>> [sizes[letter] for letter in "dHnp"]
        [4, 5, 2, 3]
        """
        tok = self.tokens(ops.zeros((1, self.d), next(iter(self.parameters().values()))))
        found = {"d": self.d, "H": 1, "s": self.micro}
        for name, field in self.token_fields.items():
            if not hasattr(tok, name):
                continue
            shape = getattr(tok, name).shape
            axes = ("H", *field.axes) if self.heads and len(field.axes) == 2 else field.axes
            for letter, size in zip(reversed(axes), reversed(shape), strict=False):
                if letter not in ("L", "sL", "1") and (size != 1 or letter not in found):
                    found[letter] = size
        return found

    # ------------------------------------------------------------- evaluation
    def __call__(self, u: Array) -> Array:
        """The output sequence y [... L H p] with heads concatenated, for u [... L d].

        >>> import dsf
        >>> dsf.gla.init(d=4, n=2, p=3, heads=5)(np.ones((7, 4))).shape
        (7, 15)
        """
        return self.run(u)[0]

    def run(self, u: Array, state: State | None = None) -> tuple[Array, State]:
        """(y, state): continue a sequence; run(whole) = run(part), state, run(rest) at any cut.

        >>> import dsf
        >>> mech, u = dsf.gla.init(d=2), np.ones((5, 2))
        >>> y, state = mech.run(u[:3])
        >>> bool(np.allclose(mech.run(u[3:], state)[0], mech(u)[3:], rtol=1e-14))
        True
        """
        mech, u, tok = border.tokens(self, u)
        if state is None:
            state = State()
        else:
            border.check_state(mech, state)
        with border.named(mech):
            o, new = mech.advance(tok, state)
        y = mech._merge(o)
        if ops.is_float(y) and not all(bool(all_finite(x)) for x in (y, *new.arrays())):
            border.explain(mech, u, y, state.arrays())
        return y, new

    def advance(self, tok: Tokens, state: State) -> tuple[Array, State]:
        """Outputs o [... L r p] (heads apart) and the new state, from tokens instead of inputs.

        >>> import dsf
        >>> mech = dsf.gla.init(d=4, n=2, p=3, heads=5)
        >>> mech.advance(mech.tokens(np.ones((7, 4))), State())[0].shape
        (5, 7, 1, 3)
        """
        tok = self._with_position(tok, state.t)
        L = self._length(tok)
        full = self._with_tail(tok, state.tail)
        T = self._length(full)
        keep = T if self.lookback is None else min(self.lookback, T)
        tail = None
        if keep:
            kept = Tokens(**{k: v for k, v in full.items() if k not in self.forgotten})
            tail = kept.rows(T - keep, T, self.token_fields, self.micro)
        S = state.S
        if self._has("step"):
            outputs = []
            for t in range(L):
                o, S = self.step(S, tok.rows(t, t + 1, self.token_fields))  # type: ignore[attr-defined]
                outputs.append(o)
            o = ops.cat(outputs, -3) if outputs else self.no_output(tok)  # type: ignore[attr-defined]
        elif self._has("rows"):
            M, X = self._weights(full, L)
            o = ops.expand(_mix(M, X, self.support(L, T)), -2)  # type: ignore[attr-defined]
        else:
            ltv, X = self.system(full)
            o, S = ltv.scan(X, S)
            if self.micro > 1:
                o = o[..., self.micro - 1 :: self.micro, :, :]
        return self.readout(o, tok), State(S, tail, state.t + L)

    def ltv(self, u: Array) -> LTV:
        """The linear system that this input produces: y = kernel . values before output gates.

        A normaliser is moved into C, micro-steps are one step with several inputs, the growing
        cache of attention is a shift register.  Raises NotLinearError for a nonlinear step.

        >>> import dsf
        >>> ltv = dsf.gla.init(d=4, n=2, p=3).ltv(np.ones((5, 4)))
        >>> ltv.length, ltv.n, ltv.A.structure
        (5, 2, 'diagonal')
        """
        return self.frozen(u)[0]

    def frozen(self, u: Array) -> tuple[LTV, Array]:
        """`ltv(u)` and the values X [... L m p] that drive it.

        >>> import dsf
        >>> mech, u = dsf.gla.init(d=4, n=2, p=3), np.ones((5, 4))
        >>> ltv, X = mech.frozen(u)
        >>> bool(np.allclose(ltv.scan(X)[0][0, :, 0], mech(u), rtol=1e-14))
        True
        """
        mech, u, tok = border.tokens(self, u)
        tok = mech._with_position(tok, 0)
        if mech._has("step"):
            raise NotLinearError(
                f"{type(self).__name__}.ltv: the step is not affine in the state, so no input "
                "turns it into a linear system. Use dsf.linearise(mech, u) for the Jacobians along "
                "a trajectory."
            )
        with border.named(mech):
            return mech._frozen(tok, u.shape[-2])

    def _frozen(self, tok: Tokens, L: int) -> tuple[LTV, Array]:
        if self._has("rows"):
            M, X = self._weights(tok, L)
            n = L if self.lookback is None else min(self.lookback + 1, L)
            return _shift_register(M, n), ops.expand(X, -2)
        ltv, X = self.system(self._with_tail(tok, None))
        o, _ = ltv.scan(X)
        eta = self.normaliser(o, tok)
        if eta is not None:
            inverse = 1 / _nonzero(eta, type(self).__name__)
            D = None if ltv.D is None else Prod((inverse, *_factors(ltv.D)))
            ltv = replace(ltv, C=Prod((inverse, *_factors(ltv.C))), D=D)
            X = X[..., :-1]
        ltv = replace(ltv, steps=L * self.micro)
        if self.micro > 1:
            ltv = ltv.coarsen(self.micro)
            X = X.reshape(*X.shape[:-3], L, self.micro * X.shape[-2], X.shape[-1])
        return ltv, X

    def kernel(self, u: Array) -> Array:
        """The token-mixing matrix [... H L L], or [... L r L m]: real part of ltv(u).kernel().

        >>> import dsf
        >>> dsf.softmax.init(d=2).kernel(np.zeros((2, 2)))[0]
        array([[1. , 0. ],
               [0.5, 0.5]])
        """
        if self._has("rows"):  # the weights themselves; ltv(u).kernel() rebuilds them in O(L^3)
            mech, u, tok = border.tokens(self, u)
            return mech._weights(tok, u.shape[-2])[0]
        with np.errstate(over="ignore", invalid="ignore"):
            M = self.ltv(u).kernel()
        return ops.real(M) if _is_complex(M) else M

    def to_torch(self) -> Any:
        """The mechanism as a `torch.nn.Module` with its parameters registered.

        >>> import dsf
        >>> sum(1 for _ in dsf.softmax.init(d=2).to_torch().parameters())
        3
        """
        from dsf.interop.module import Module

        return Module(self)

    # ---------------------------------------------------------------- helpers
    def _has(self, method: str) -> bool:
        return hasattr(type(self), method)

    def _weights(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        """`rows`, refused where the weights [... H L T] would not fit into memory."""
        lead = next(iter(tok.items()))[1].shape[:-2]
        check_size(
            f"{type(self).__name__}: attention weights", (*lead, L, self._length(tok)), 8, LIMIT,
            "Run the sequence in parts (y, state = mech.run(part, state)), or use a window.",
        )  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            return self.rows(tok, L)  # type: ignore[attr-defined]

    def _length(self, tok: Tokens) -> int:
        """Number of tokens (rows of the per-token fields)."""
        spec = self.token_fields
        rows = [x.shape[-2] for k, x in tok.items() if spec[k].axes[-2] == "L"]
        if not rows:
            raise ShapeError(f"{type(self).__name__}: the token spec has no per-token field")
        return max(rows)  # with a tail, the fields that are not kept are shorter

    def _with_tail(self, tok: Tokens, tail: Tokens | None) -> Tokens:
        if tail is None and self.lookback and not self._has("rows"):
            blank = tok.rows(0, 1, self.token_fields) if self._length(tok) else None
            tail = Tokens(
                **{
                    k: ops.zeros((*v.shape[:-2], self.lookback, v.shape[-1]), v)
                    if self.token_fields[k].per_token
                    else v
                    for k, v in (blank or tok).items()
                }
            )
        return tok if tail is None else tok.after(tail, self.token_fields)

    def _with_position(self, tok: Tokens, t: int) -> Tokens:
        if "pos" not in self.token_fields or "pos" in tok.names:
            return tok
        like = next(v for k, v in tok.items() if self.token_fields[k].per_token)
        rows = [ops.const(t + i, like).reshape(1, 1) for i in range(self._length(tok))]
        return tok.replace(pos=ops.cat(rows, -2) if rows else ops.zeros((0, 1), like))

    def _merge(self, o: Array) -> Array:
        """[... H L r p] -> [... L H r p] with the last three joined (no head axis: [... L r p])."""
        if self.heads:
            o = ops.moveaxis(o, -4, -3)
            return o.reshape(*o.shape[:-3], o.shape[-3] * o.shape[-2] * o.shape[-1])
        return o.reshape(*o.shape[:-2], o.shape[-2] * o.shape[-1])

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):  # otherwise @dataclass writes one that prints all numbers
            cls.__repr__ = Mechanism.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        shown = [f"{k}={printing.axes(v)}" for k, v in self.parameters().items()]
        shown += [f"{k}={v!r}" for k, v in self.options().items() if v is not None]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __str__(self) -> str:
        return printing.mechanism(self)


def split_heads(u: Array) -> Array:
    """[... L d] -> [... 1 L d], ready to be multiplied by [H d n].

    >>> split_heads(np.ones((5, 4))).shape
    (1, 5, 4)
    """
    return ops.expand(u, -3)


def channels(x: Array) -> Array:
    """[... L D] -> [... D L 1]: channels as heads.

    >>> channels(np.ones((5, 4))).shape
    (4, 5, 1)
    """
    return ops.col(ops.mT(x))


def causal_support(L: int, T: int, width: int | None = None) -> np.ndarray:
    """Which of T keys the last L queries may see [L T]: the past, or the last `width` of it.

    >>> causal_support(2, 3, width=2).astype(int)
    array([[1, 1, 0],
           [0, 1, 1]])
    """
    lag = np.arange(T - L, T)[:, None] - np.arange(T)[None, :]
    return (lag >= 0) if width is None else (lag >= 0) & (lag < width)


def _mix(M: Array, X: Array, support: np.ndarray) -> Array:
    """M X using only the supported entries, so that a NaN cannot reach rows that do not see it."""
    if not ops.is_float(X) or bool((X.isfinite() if ops.is_torch(X) else np.isfinite(X)).all()):
        return M @ X
    out = [
        M[..., i : i + 1, np.flatnonzero(seen)] @ X[..., np.flatnonzero(seen), :]
        for i, seen in enumerate(support)
    ]
    return ops.cat(out, -2)


def _shift_register(M: Array, n: int) -> LTV:
    """Lower triangular weights M [... L L] as a first-in first-out register of n values."""
    L = M.shape[-1]
    index = np.arange(L)[:, None] - np.arange(n)[None, :]  # row i reads values i, i-1, ...
    padded = ops.cat([M, ops.zeros((L, 1), M)], -1)
    pieces = [padded[..., i : i + 1, np.where(index[i] < 0, L, index[i])] for i in range(L)]
    C = ops.cat(pieces, -2) if pieces else ops.zeros((*M.shape[:-2], 0, n), M)
    first = ops.cat([ops.ones((1, 1), M), ops.zeros((n - 1, 1), M)], -2) if n else M[..., :0, :0]
    B = ops.expand(first, 0) if n else ops.zeros((1, 0, 1), M)
    return LTV(Shift(n, like=M), B, ops.row(C), steps=L)


def _factors(x: Coefficient) -> tuple[Array, ...]:
    return x.factors if isinstance(x, Prod) else (x,)


def _nonzero(eta: Array, name: str) -> Array:
    if ops.is_float(eta) and bool((eta == 0).any()):
        raise DomainError(
            f"{name}: the normaliser is exactly 0 at some token, so the output is undefined. "
            "Likely cause: zero keys, or features without a positive lower bound. Use positive "
            "features (elu+1, exp) or drop the normaliser."
        )
    return eta


def _is_complex(x: Array) -> bool:
    if ops.is_torch(x):
        return bool(x.is_complex())
    if x.dtype != object:
        return x.dtype.kind == "c"
    return ops.world(x) is ARB and any(type(e).__name__ == "acb" for e in x.flat)
