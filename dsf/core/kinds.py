"""The three kinds of mechanism: a linear recurrence, attention weights, a nonlinear step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from dsf.core import border, fast, ops
from dsf.core.arrays import at_least_float32
from dsf.core.checks import LIMIT, all_finite, check_size
from dsf.core.errors import ContractError, NotLinearError
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Prod, Shift, factors


class Recurrence(Mechanism):
    """A mechanism that is a linear recurrence of finitely many states.

        recurrence(tok) -> LTV, X     the system, and the values X [... L m p] that drive it

    With lookback = w the rows before are `tok.previous`, those before `tok.previous.previous`, ...
    """

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        """The linear system that the tokens make, and the values X [... L m p] that drive it."""
        raise NotImplementedError

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        """`recurrence` of a sequence from its start: positions and blank earlier rows filled in.

        >>> import dsf
        >>> tok = dsf.mamba3.draw_tokens(np.random.default_rng(0), L=3, n=2, p=1)
        >>> dsf.mamba3.without_parameters().system(tok)[0].length
        3
        """
        tok = self.positioned(tok.map(at_least_float32), 0)
        full = self.after_nothing(tok) if self.lookback else tok
        return self.system_after(full, self.length(tok))

    def system_after(self, full: Tokens, L: int) -> tuple[LTV, Array]:
        """`recurrence` of the last L tokens of `full`, which begins with the rows before them."""
        if self.lookback:
            full = full.with_previous(self.lookback, self.token_fields, self.substeps, L)
        return _two(self.name, "recurrence(tok)", "LTV, X", self.recurrence(full))

    def outputs(self, tok: Tokens, full: Tokens, S: Any) -> tuple[Array, Any]:
        ltv, X = self.system_after(full, self.length(tok))
        o, S = ltv.scan(X, S)
        return o if self.substeps == 1 else o[..., self.substeps - 1 :: self.substeps, :, :], S

    def linear(self, tok: Tokens, L: int) -> tuple[LTV, Array]:
        ltv, X = self.system(tok)
        o, _ = ltv.scan(X)
        eta = self.normaliser(o, tok)
        if eta is not None:
            inverse = 1 / border.nonzero(self, eta)
            D = None if ltv.D is None else Prod((inverse, *factors(ltv.D)))
            ltv = replace(ltv, C=Prod((inverse, *factors(ltv.C))), D=D)
            X = X[..., :-1]
        ltv = replace(ltv, steps=L * self.substeps)
        if self.substeps > 1:
            ltv = ltv.coarsen(self.substeps)
            X = X.reshape(*X.shape[:-3], L, self.substeps * X.shape[-2], X.shape[-1])
        return ltv, X


class Attention(Mechanism):
    """A mechanism that weighs the values of earlier tokens.

        weights(tok, L) -> M, X     M [... L T] of the last L rows on all T kept ones, X [... T p]

    `tok` holds the last `lookback` rows before these, or all of them (None); see `support`.
    """

    lookback = None
    stateful = False
    include_self: ClassVar[bool] = True  # whether a query sees its own key

    def weights(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        """The weights M [... L T] of the last L rows, and the values X [... T p]."""
        raise NotImplementedError

    def support(self, L: int, T: int) -> np.ndarray:
        """Which of T keys the last L queries may see [L T]: the past, or the end of it."""
        seen = causal_support(L, T, None if self.lookback is None else self.lookback + 1)
        return seen if self.include_self else seen & ~np.eye(L, T, T - L, dtype=bool)

    def _weights(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        """`weights`, refused (TooLargeError) where M [... H L T] would not fit into memory."""
        lead = next(iter(tok.items()))[1].shape[:-2]
        check_size(
            f"{self.name}: attention weights", (*lead, L, self.length(tok)), 8, LIMIT,
            "Run the sequence in parts (y, state = mech.run(part, state)), or use a window.",
        )  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            whole = isinstance(self, DotProductAttention) or _finite(tok)  # a softmax is masked
            found = self.weights(tok, L) if whole else self._row_by_row(tok, L)
            return _two(self.name, "weights(tok, L)", "M, X", found)

    def _row_by_row(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        """`weights`, of each row from the tokens up to its own, so that no later NaN reaches it."""
        T, fields = self.length(tok), self.token_fields
        rows, X = [], self.weights(tok, L)[1]
        for later in range(L - 1, -1, -1):
            kept = {
                k: x[..., : x.shape[-2] - later, :] if fields[k].per_token else x
                for k, x in tok.items()
            }
            M = self.weights(Tokens(**kept), 1)[0]
            rows.append(ops.cat([M, ops.zeros((*M.shape[:-1], later), M)]))
        return ops.cat(rows, -2) if rows else ops.zeros((*X.shape[:-2], 0, T), X), X

    def after_nothing(self, tok: Tokens) -> Tokens:
        return tok  # what does not exist has no weight

    def outputs(self, tok: Tokens, full: Tokens, S: Any) -> tuple[Array, Any]:
        L = self.length(tok)
        M, X = self._weights(full, L)
        return ops.expand(_mix(M, X, self.support(L, self.length(full))), -2), None

    def linear(self, tok: Tokens, L: int) -> tuple[LTV, Array]:
        M, X = self._weights(tok, L)
        n = L if self.lookback is None else min(self.lookback + 1, L)
        return _shift_register(M, n), ops.expand(X, -2)

    def mixing(self, tok: Tokens, L: int) -> Array:
        return self._weights(tok, L)[0]  # `linear(...).kernel()` rebuilds them in O(L^3)


class DotProductAttention(Attention):
    """Attention whose weights are the softmax of scaled products of queries and keys.

        scores(tok, L) -> q, k, v     q [... L n] of the last L rows, scaled; k, v of all kept

    A kernel streams long sequences: their weights are never held at once.
    """

    def scores(self, tok: Tokens, L: int) -> tuple[Array, Array, Array]:
        """The last L queries [... L n], scaled, the kept keys [... T n] and values [... T p]."""
        raise NotImplementedError

    def weights(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        q, k, v = self.scores(tok, L)
        seen = self.support(L, k.shape[-2])
        return ops.softmax(ops.logits(q, k, seen), seen), v

    def outputs(self, tok: Tokens, full: Tokens, S: Any) -> tuple[Array, Any]:
        width = None if self.lookback is None else self.lookback + 1
        y = fast.attended(*self.scores(full, self.length(tok)), width, self.include_self)
        return super().outputs(tok, full, S) if y is None else (ops.expand(y, -2), None)


class Step(Mechanism):
    """A mechanism whose step is not affine in its state.

    step(S, tok) -> o, S     one token: o [... 1 r p], from the state S (None: the start)
    """

    def step(self, S: Any, tok: Tokens) -> tuple[Array, Any]:
        """One token: (o [... 1 r p], S)."""
        raise NotImplementedError

    def no_output(self, tok: Tokens) -> Array:
        """The output [... 0 r p] of an empty sequence."""
        raise NotImplementedError

    def outputs(self, tok: Tokens, full: Tokens, S: Any) -> tuple[Array, Any]:
        found = []
        for t in range(self.length(tok)):
            o, S = self.step(S, tok.part(t, t + 1, self.token_fields))
            found.append(o)
        return ops.cat(found, -3) if found else self.no_output(tok), S

    def linear(self, tok: Tokens, L: int) -> tuple[LTV, Array]:
        raise NotLinearError(
            f"{self.name}.ltv: the step is not affine in the state, so no input turns it into a "
            "linear system. Use dsf.linearise(mech, u) for the Jacobians along a trajectory."
        )


def _finite(tok: Tokens) -> bool:
    """Whether all numbers are finite, as far as they may be looked at."""
    return not ops.readable(*(x for _, x in tok.items())) or all(
        bool(all_finite(x)) for _, x in tok.items()
    )


def _two(name: str, method: str, wanted: str, found: Any) -> Any:
    """What a method of an author returned, or ContractError if it is not two things."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise ContractError(
            f"{name}: {method} must return {wanted}, X being the values that drive the outputs; "
            f"got {type(found).__name__}"
        )
    return found


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
    if not ops.readable(X) or bool((X.isfinite() if ops.is_torch(X) else np.isfinite(X)).all()):
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
