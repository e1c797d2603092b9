"""The linear time-varying system that every mechanism becomes once its input is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dsf.core import analysis, ops, printing
from dsf.core.arrays import at_least_float32, common_zero, full_precision, is_half, promoted
from dsf.core.checks import (
    LIMIT,
    all_finite,
    check_coefficients,
    check_finite,
    check_input,
    check_joinable,
    check_size,
)
from dsf.core.errors import DomainError, DTypeError, ShapeError
from dsf.core.fast import scanned
from dsf.core.ops import Array
from dsf.core.transition import (
    Coefficient,
    Dense,
    Diag,
    Erase,
    LowRank,
    Transition,
    at,
    dense,
    each,
    factors,
    part_of,
)

BLOCK = 64  # steps whose coefficients exist at the same time; also how often overflow is looked for
ADVICE = "Use scan, chunk or part, which need memory for a stretch of steps only."


@dataclass(frozen=True, eq=False)
class Element:
    """The affine map S -> A S + b of a stretch of steps; `then` composes two of them.

    These pairs form the monoid of parallel scans: (A2, b2) after (A1, b1) is (A2 A1, A2 b1 + b2).

    >>> double = Element(Diag(a=np.array([2.0])), np.ones((1, 1)))
    >>> double.then(double).b
    array([[3.]])
    """

    A: Transition
    b: Array

    def __repr__(self) -> str:
        return f"Element(A={self.A!r}, b={printing.axes(self.b)})"

    @full_precision
    def then(self, later: Element) -> Element:
        """This stretch followed by a later one."""
        return Element(later.A @ self.A, later.A.apply(self.b) + later.b)


@dataclass(frozen=True, eq=False)
class LTV:
    """A linear time-varying system with a matrix state S [n p].

        S_t = A_t S_{t-1} + B_t X_t        B [... L n m]   X [... L m p]
        Y_t = C_t S_t     + D_t X_t        C [... L r n]   D [... L r m]    Y [... L r p]

    `read="before"` replaces C_t S_t by C_t S_{t-1} (the convention of realization theory, and of
    RWKV).  Every axis left of the matrix axes, time included, broadcasts: size 1 means shared or
    constant.  The p columns of the state are p copies of one system, so vec(S) is the h of the
    dynamical-systems framework (Sieber et al. 2024, eq. (1)) with the factor I_p left out.
    Coefficients in half precision become float32: a decay of 0.999 would be 1 in bfloat16.

    >>> ltv = LTV(Diag(a=np.full((1, 1), 0.5)), np.ones((1, 1, 1)), np.ones((1, 1, 1)), steps=3)
    >>> ltv.kernel()
    array([[1.  , 0.  , 0.  ],
           [0.5 , 1.  , 0.  ],
           [0.25, 0.5 , 1.  ]])
    """

    A: Transition
    B: Coefficient
    C: Coefficient
    D: Coefficient | None = None
    read: Literal["after", "before"] = "after"
    steps: int | None = None  # the length; needed only where all coefficients are constant

    def __post_init__(self) -> None:
        if not isinstance(self.A, Transition):
            raise DTypeError(
                "LTV: A must be a Diag, LowRank, Erase, Dense or Shift; got "
                f"{type(self.A).__name__}. An array [... L n n] goes in as Dense(A), its diagonal "
                "[... L n] as Diag(a=a)."
            )
        if self.read not in ("after", "before"):
            raise DomainError(f"LTV: read must be 'after' or 'before'; got {self.read!r}")
        if any(map(is_half, self.arrays())):
            wide = self.map(at_least_float32)
            for name in "ABCD":
                object.__setattr__(self, name, getattr(wide, name))

    def __repr__(self) -> str:
        sizes = f"L={self.length}, n={self.n}, m={self.m}, r={self.r}"
        return f"LTV({sizes}, A={self.A.structure}, batch={self.batch}, read={self.read!r})"

    def __str__(self) -> str:
        return printing.block(*printing.ltv(self))

    def _repr_html_(self) -> str:
        return printing.shown(*printing.ltv(self))

    def _repr_latex_(self) -> str:
        return printing.ltv_latex(self)

    # ---------------------------------------------------------------- shapes
    @property
    def length(self) -> int:
        """L, or 1 for a constant system without a stated length."""
        if self.steps is not None:
            return self.steps
        return _common(self._lengths())

    @property
    def constant(self) -> bool:
        """Whether no coefficient has a time axis longer than 1."""
        return all(size == 1 for size in self._lengths())

    def _lengths(self) -> list[int]:
        found = self.A.lengths()
        for x in (self.B, self.C, self.D):
            if x is not None:
                found += [f.shape[-3] for f in factors(x) if f.ndim >= 3]
        return found

    @property
    def n(self) -> int:
        """State size (rows of S)."""
        return self.B.shape[-2]

    @property
    def m(self) -> int:
        """Inputs per step and column."""
        return self.B.shape[-1]

    @property
    def r(self) -> int:
        """Outputs per step and column."""
        return self.C.shape[-2]

    @property
    def batch(self) -> tuple[int, ...]:
        """Batch and head axes, left of time."""
        shapes = [
            x.shape[:-3] for x in (self.B, self.C, self.D) if x is not None and len(x.shape) > 2
        ]
        for f in self.A.arrays():
            shapes.append(tuple(f.shape[: -2 if self._is_vector(f) else -3]))
        return tuple(np.broadcast_shapes(*map(tuple, shapes)))

    def _is_vector(self, f: Array) -> bool:
        d = self.A.diag if isinstance(self.A, LowRank) else self.A
        return isinstance(d, Diag) and any(f is g for g in d.arrays())

    def map(self, f: Callable[[Array], Array]) -> LTV:
        """f applied to every array: another dtype, device or world.

        >>> import dsf
        >>> dsf.gla.init(d=2).ltv(np.ones((3, 2))).map(np.float32).kernel().dtype
        dtype('float32')
        """
        D = None if self.D is None else each(self.D, f)
        A = self.A.map(f)
        return replace(self, A=A, B=self._write(A) or each(self.B, f), C=each(self.C, f), D=D)

    def part(self, start: int, stop: int) -> LTV:
        """The steps start .. stop-1.

        >>> import dsf
        >>> dsf.gla.init(d=2).ltv(np.ones((5, 2))).part(1, 4).length
        3
        """
        rows = slice(start, stop)
        D = None if self.D is None else part_of(self.D, rows, -3)
        steps = len(range(self.length)[rows])
        A = self.A.part(rows)
        B = self._write(A) or part_of(self.B, rows, -3)
        return LTV(A, B, part_of(self.C, rows, -3), D, self.read, steps)

    def _write(self, A: Transition) -> Coefficient | None:
        """What goes with A in place of B where B writes along the key that `self.A` erases."""
        if isinstance(self.A, Erase) and isinstance(A, Erase) and self.A.writes(self.B):
            return A.write
        return None

    def arrays(self) -> list[Array]:
        """All coefficient arrays."""
        found = self.A.arrays()
        for x in (self.B, self.C, self.D):
            if x is not None:
                found += factors(x)
        return found

    # ------------------------------------------------------------ evaluation
    @full_precision
    def step(self, t: int, S: Array, x: Array) -> tuple[Array, Array]:
        """One step: (y_t [... r p], S_t [... n p]) from S_{t-1} and x_t [... m p].

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.step(0, np.array([[4.0]]), np.array([[1.0]]))
        (array([[3.]]), array([[3.]]))
        """
        return self.part(t, t + 1).multiplied_out().ready_step(0, self.promote(S), self.promote(x))

    def ready_step(self, t: int, S: Array, x: Array) -> tuple[Array, Array]:
        """`step` where coefficients, state and input have one dtype: torch wants that."""
        A, B, C = self.A.at(t), at(self.B, t, -3), at(self.C, t, -3)
        new = A.apply(S) + ops.outer(B, x)
        y = C @ (new if self.read == "after" else S)
        if self.D is not None:
            y = y + ops.outer(at(self.D, t, -3), x)
        return y, new

    @full_precision
    def scan(self, X: Array, S: Array | None = None) -> tuple[Array, Array]:
        """The recurrence: Y [... L r p] and the last state [... n p].

        Long ones run in compiled kernels (`dsf.core.fast`), the others step by step, `BLOCK` steps'
        coefficients at a time.
        Raises OverflowingScanError with the first bad step if the state leaves the finite range
        while every coefficient and input is finite; NaN and infinity in the input propagate.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> Y, S = ltv.scan(np.ones((3, 1, 1)))
        >>> Y.ravel(), S
        (array([1.  , 1.5 , 1.75]), array([[1.75]]))
        """
        ltv, X, S = self._driven_by(X, S)
        return scanned(ltv, X, S) or ltv._scan(X, S, 0, ltv.length)

    def _scan(self, X: Array, S: Array, first: int, total: int) -> tuple[Array, Array]:
        """`scan` of a stretch that starts at step `first` of `total`."""
        out = []
        for start in range(0, self.length, BLOCK):
            part = self.part(start, min(start + BLOCK, self.length))
            ready, x, S0 = part.multiplied_out(), X[..., start : start + BLOCK, :, :], S
            rows = []
            with np.errstate(over="ignore", invalid="ignore"):
                for t in range(part.length):
                    y, S = ready.ready_step(t, S, x[..., t, :, :])
                    rows.append(ops.expand(y, -3))
                out.append(ops.cat(rows, -3))
            check_finite(part, x, S0, out[-1], S, first + start, total)
        return ops.cat(out, -3) if out else self._no_output(X), S

    @full_precision
    def chunk(self, X: Array, size: int, S: Array | None = None) -> tuple[Array, Array]:
        """The same map in chunks: inside a chunk by its kernel, between chunks by the state.

            Y = M X + R S_in,   R_i = C_i A_i ... A_first

        Decays enter as products over a segment only, never as quotients of cumulative products.
        What a compiled kernel takes (see `scan`) runs there: it needs no chunks.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.chunk(np.ones((3, 1, 1)), size=2)[0].ravel()
        array([1.  , 1.5 , 1.75])
        """
        if size < 1:
            raise ShapeError(f"LTV.chunk: size must be at least 1; got {size}")
        ltv, X, S = self._driven_by(X, S)
        found = scanned(ltv, X, S)
        if found is not None:
            return found
        out = [ltv._no_output(X)]
        for start in range(0, ltv.length, size):
            part = ltv.part(start, min(start + size, ltv.length))
            x = X[..., start : start + size, :, :]
            with np.errstate(over="ignore", invalid="ignore"):
                y, new = part._one_chunk(x, S)
            if ops.readable(y) and not (bool(all_finite(y)) and bool(all_finite(new))):
                # 0 * NaN is NaN: a kernel would spoil the rows before it, single steps do not
                y, new = part._scan(x, S, start, ltv.length)
            out.append(y)
            S = new
        return ops.cat(out, -3), S

    def _one_chunk(self, X: Array, S: Array) -> tuple[Array, Array]:
        """All steps of this system at once, by its kernel and its composed element."""
        M, R = self._expanded()
        y = M @ X.reshape(*X.shape[:-3], self.length * self.m, X.shape[-1]) + R @ S
        element = self.element(0, self.length, X)
        y = y.reshape(*y.shape[:-2], self.length, self.r, X.shape[-1])
        return y, element.A.apply(S) + element.b

    @full_precision
    def kernel(self) -> Array:
        """The token-mixing operator from products of transitions: [... L L], or [... L r L m].

        M_ij = C_i A_i ... A_{j+1} B_j  (i > j),   M_ii = C_i B_i + D_i       (read after)
        M_ij = C_i A_{i-1} ... A_{j+1} B_j,        M_ii = D_i                 (read before)

        >>> import dsf
        >>> dsf.lru.init(d=3, n=2).ltv(np.ones((5, 3))).kernel().shape
        (5, 3, 5, 3)
        """
        L = self.length
        M = self._expanded()[0]
        if self.m == 1 and self.r == 1:
            return M
        return M.reshape(*M.shape[:-2], L, self.r, L, self.m)

    def _expanded(self) -> tuple[Array, Array]:
        """The kernel as a matrix [... L r, L m] and the map of the incoming state [... L r, n].

        Row vectors C_i A_i ... are carried from the right to the left, all rows at once, so this
        shares no step with `scan`.
        """
        check_coefficients(self)
        L, r, n = self.length, self.r, self.n
        like = self._like
        lead = self.batch
        check_size("LTV.kernel", (*lead, L * r, L * self.m), like.dtype.itemsize, LIMIT, ADVICE)
        C = ops.broadcast_to(self.promote(dense(self.C)), (*lead, L, r, n))
        D = None if self.D is None else self.promote(dense(self.D))
        R = ops.zeros((*lead, 0, n), like)
        blocks = []
        for j in range(L - 1, -1, -1):
            B, c = self.promote(at(self.B, j, -3)), C[..., j, :, :]
            if self.read == "after":
                R = ops.cat([c, R], -2)
            column = R @ B
            if self.read == "before":
                column = ops.cat([ops.zeros((*column.shape[:-2], r, self.m), like), column], -2)
                R = R if not R.shape[-2] else self.A.at(j).right(R)
                R = ops.cat([c, R], -2)
            else:
                R = self.A.at(j).right(R)
            if D is not None:
                d = at(D, j, -3)
                column = ops.cat([column[..., :r, :] + d, column[..., r:, :]], -2)
            above = ops.zeros((*column.shape[:-2], j * r, self.m), like)
            blocks.append(ops.cat([above, column], -2))
        if not blocks:
            return ops.zeros((*lead, 0, 0), like), ops.zeros((*lead, 0, n), like)
        return ops.cat(blocks[::-1], -1), R

    @full_precision
    def element(self, start: int, stop: int, X: Array | None = None) -> Element:
        """The composed pair of the steps start .. stop-1.

        With inputs X [... stop-start m p], b is [... n p]; without, b is the reachability map
        [... n (stop-start) m] from the stacked inputs to the state.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.element(0, 3).b
        array([[0.25, 0.5 , 1.  ]])
        """
        if not start < stop:
            raise ShapeError(f"LTV.element: needs start < stop; got {start}, {stop}")
        pair = None
        for k, t in enumerate(range(start, stop)):
            B = self.promote(at(self.B, t, -3))
            if X is None:
                pieces = [ops.zeros_like(B)] * (stop - start)
                pieces[k] = B
                b = ops.cat(pieces, -1)
            else:
                b = ops.outer(B, self.promote(X[..., k, :, :]))
            one = Element(self.A.at(t), b)
            pair = one if pair is None else pair.then(one)
        assert pair is not None
        return pair

    # ------------------------------------------------------------- analysis
    @full_precision
    def dense(self, limit: int = 1 << 30) -> LTV:
        """The same system with every coefficient written out, A as [... L n n].

        Raises TooLargeError, naming the size, if the arrays would exceed `limit` bytes.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.dense().A.dense().shape
        (1, 1, 1)
        """
        L, n, lead, like = self.length, self.n, self.batch, self._like
        steps = 1 if self.constant else L
        check_size("LTV.dense", (*lead, steps, n, n), like.dtype.itemsize, limit, ADVICE)
        eye = ops.eye(n, like)
        wide = self.A.map(lambda x: promoted(x, x))
        A = wide.apply(eye) if L else ops.zeros((*lead, 0, n, n), eye)
        D = None if self.D is None else dense(self.D)
        return LTV(Dense(A), dense(self.B), dense(self.C), D, self.read, self.steps)

    @full_precision
    def hankel(self, k: int) -> Array:
        """H_k = M[k:, :k] as a matrix [... (L-k) r, k m]: how the past acts on the future.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.hankel(2)
        array([[0.25, 0.5 ]])
        """
        if not 0 <= k <= self.length:
            raise ShapeError(f"LTV.hankel: cut k must be in 0..{self.length}; got {k}")
        return self._expanded()[0][..., k * self.r :, : k * self.m]

    @full_precision
    def hankel_singular_values(self, k: int | None = None) -> Any:
        """Singular values of H_k, or the list of them for the cuts k = 1 .. L-1.

        They do not depend on the choice of state coordinates (`gauge`), eigenvalues do.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> [len(s) for s in ltv.hankel_singular_values()]
        [1, 1]
        """
        if k is not None:
            return np.linalg.svd(self.hankel(k), compute_uv=False)
        M = self._expanded()[0]
        return [
            np.linalg.svd(M[..., j * self.r :, : j * self.m], compute_uv=False)
            for j in range(1, self.length)
        ]

    @full_precision
    def gauge(self, T: Array) -> LTV:
        """Another choice of state coordinates, T_t [... L n n] or one T [n n], invertible.

        (A, B, C, D)_t -> (T_t A_t T_{t-1}^{-1}, T_t B_t, C_t T_t^{-1}, D_t) leaves the kernel as it
        is (T_{-1} := T_0: the state starts at zero).  Raises ShapeError on wrong sizes.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> bool(np.allclose(ltv.gauge(np.array([[3.0]])).kernel(), ltv.kernel(), rtol=1e-15))
        True
        """
        if T.shape[-2:] != (self.n, self.n):
            raise ShapeError(f"LTV.gauge: T must be [... n n] with n = {self.n}; got {T.shape}")
        T = T if T.ndim > 2 else T[None]
        before = ops.cat([T[..., :1, :, :], T[..., :-1, :, :]], -3) if T.shape[-3] > 1 else T
        inverse = np.linalg.inv(T) if not ops.is_torch(T) else T.inverse()
        back = np.linalg.inv(before) if not ops.is_torch(T) else before.inverse()
        full = self.dense()
        reading = inverse if self.read == "after" else back
        return LTV(
            Dense(T @ full.A.dense() @ back), T @ full.B, full.C @ reading, full.D,
            self.read, self.length,
        )  # fmt: skip

    @full_precision
    def eigenvalues(self) -> Array:
        """Eigenvalues of A_t [... L n].  They depend on the state coordinates: see `gauge`.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.eigenvalues().ravel()
        array([0.5, 0.5, 0.5])
        """
        return analysis.eigenvalues(self)

    @full_precision
    def diagonalise(self) -> tuple[LTV, float]:
        """A constant system in the coordinates of its eigenvectors, and their condition number.

        (A, B, C, D) -> (Diag(w), V^{-1} B, C V, D) with A V = V diag(w), complex128; V has columns
        of length 1, and rounding grows by about cond(V).  `scan` never does this by itself.
        Raises TimeVaryingError unless A is constant, and IllConditionedError where cond(V) exceeds
        1/sqrt(eps) = 6.7e7: A is defective, or nearly so.

        >>> A = np.array([[[0.0, 1.0], [-1.0, 0.0]]])
        >>> ltv = LTV(Dense(A), np.ones((1, 2, 1)), np.ones((1, 1, 2)), steps=3)
        >>> diagonal, condition = ltv.diagonalise()
        >>> diagonal.A.structure, round(condition, 12)
        ('diagonal', 1.0)
        """
        return analysis.diagonalise(self)

    @full_precision
    def growth(self) -> Array:
        """log |A_t ... A_0|_2 for every t [... L]; rescaled on the way, so it cannot overflow.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> np.exp(ltv.growth())
        array([0.5  , 0.25 , 0.125])
        """
        return analysis.growth(self)

    @full_precision
    def coarsen(self, s: int) -> LTV:
        """s steps as one, reading the last: m becomes s m, a rank-1 transition becomes rank s.

        Inputs are regrouped as X.reshape(..., L/s, s m, p).  Needs read="after" and s dividing L.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.part(0, 2).coarsen(2).kernel().ravel()
        array([0.5, 1. ])
        """
        if s == 1:
            return self
        if self.read != "after" or self.length % s:
            raise ShapeError(
                f"LTV.coarsen: needs read='after' and s = {s} dividing L = {self.length}; "
                f"got read={self.read!r}"
            )
        first = [slice(k, None, s) for k in range(s)]
        A = self.A.part(first[0])
        B = dense(part_of(self.B, first[0], -3))
        for rows in first[1:]:
            A_k = self.A.part(rows)
            A, B = A_k @ A, ops.cat([A_k.apply(B), dense(part_of(self.B, rows, -3))], -1)
        C, D = part_of(self.C, first[-1], -3), None
        if self.D is not None:
            d = dense(part_of(self.D, first[-1], -3))
            D = ops.cat([ops.zeros_like(d)] * (s - 1) + [d], -1)
        return LTV(A, B, C, D, "after", self.length // s)

    # -------------------------------------------------------------- algebra
    def __add__(self, other: LTV) -> LTV:
        """Two systems side by side on the same input; their outputs add.

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> (ltv + ltv).kernel()[:, 0]
        array([2. , 1. , 0.5])
        """
        check_joinable("sum", self, other, self.m == other.m and self.r == other.r)
        a, b = self.dense(), other.dense()
        zero = ops.zeros((1, a.n, b.n), a._like)
        return LTV(
            Dense(_block(a.A.dense(), zero, ops.mT(zero), b.A.dense())),
            ops.cat([a.B, b.B], -2), ops.cat([a.C, b.C], -1), _plus(a.D, b.D),
            self.read, self.length,
        )  # fmt: skip

    @full_precision
    def then(self, other: LTV) -> LTV:
        """A chain: the output of this system is the input of `other` (r here = m there).

        >>> one = np.ones((1, 1, 1))
        >>> ltv = LTV(Diag(a=one[0] / 2), one, one, steps=3)
        >>> ltv.then(ltv).kernel()[:, 0]
        array([1.  , 1.  , 0.75])
        """
        check_joinable("chain", self, other, self.r == other.m)
        a, b = self.dense(), other.dense()
        D1 = a.D if a.D is not None else ops.zeros((1, a.r, a.m), a._like)
        D2 = b.D if b.D is not None else ops.zeros((1, b.r, b.m), b._like)
        A1, A2 = a.A.dense(), b.A.dense()
        if self.read == "after":  # y1 = C1 (A1 S1 + B1 x) + D1 x
            past, now = a.C @ A1, a.C @ a.B + D1
        else:
            past, now = a.C, D1
        C, D = ops.cat([D2 @ a.C, b.C], -1), D2 @ D1
        zero = ops.zeros((1, a.n, b.n), a._like)
        A = _block(A1, zero, b.B @ past, A2)
        return LTV(Dense(A), ops.cat([a.B, b.B @ now], -2), C, D, self.read, self.length)

    # -------------------------------------------------------------- helpers
    @cached_property
    def _like(self) -> Array:
        """A 0-d array in the world and the common dtype of all coefficients."""
        return common_zero(*self.arrays())

    def promote(self, x: Array) -> Array:
        if type(x) is np.ndarray and x.dtype.kind in "fc" and x.dtype.itemsize > 2:
            return x  # numpy widens by itself: the coefficients need not be looked at
        return promoted(x, self._like)

    def multiplied_out(self) -> LTV:
        """Products multiplied out and dtypes promoted: what one block of `scan` works on."""
        promote = self.promote
        D = None if self.D is None else promote(dense(self.D))
        A = self.A.map_time(lambda x, axis: dense(x))
        return LTV(A, promote(dense(self.B)), promote(dense(self.C)), D, self.read, self.steps)

    def _driven_by(self, X: Array, S: Array | None) -> tuple[LTV, Array, Array]:
        """This system with the length of X, X in a common dtype, and the state before it."""
        X = X if ops.is_torch(X) else np.asarray(X)
        L = check_input(self, X, S)
        X = self.promote(X)
        if S is None:
            like = X[..., :0].sum() if ops.is_torch(X) else X
            S = ops.zeros((*self.out_batch(X), self.n, X.shape[-1]), like)
        return replace(self, steps=L), X, self.promote(S)

    def _no_output(self, X: Array) -> Array:
        """The output of an empty sequence."""
        return ops.zeros((*self.out_batch(X), 0, self.r, X.shape[-1]), self.promote(X))

    def out_batch(self, X: Array) -> tuple[int, ...]:
        """Batch and head axes of the output for X [... L m p]."""
        return tuple(np.broadcast_shapes(tuple(X.shape[:-3]), self.batch))


def _common(sizes: list[int]) -> int:
    longer = {s for s in sizes if s != 1}
    if len(longer) > 1:
        raise ShapeError(f"LTV: coefficients have different lengths {sorted(longer)}")
    return longer.pop() if longer else 1


def _plus(a: Any, b: Any) -> Any:
    return a if b is None else b if a is None else a + b


def _block(a: Array, b: Array, c: Array, d: Array) -> Array:
    return ops.cat([ops.cat([a, b], -1), ops.cat([c, d], -1)], -2)
