"""The margin problem that every SVM of an attention head is an instance of.

    rows    A_j = (key[plus_j] - key[minus_j]) query[query_j]'          [d e], rank one
    margin  g* = max { min_{b_j > 0} <A_j, W> / b_j :  |W| <= 1,
                       <A_j, W> >= 0 where b_j = 0,  <A_j, W> = 0 where equality_j }

The least norm of a W with <A_j, W> >= b_j (and = 0) is 1/g*; it does not exist if g* = 0.  For any
W and any multipliers lam (>= 0 on inequalities, free on equalities), with the dual norm |.|',

    min_j <A_j, W> / (b_j |W|)  <=  g*  <=  |sum_j lam_j A_j|' / sum_j lam_j b_j .

Rows are stored as indices into tables of keys and queries: the matrix A [N d*e] is needed nowhere
but in the slow twins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import frexp
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, EmptyProblemError, NonFiniteError, ShapeError

Array = np.ndarray
POSITIVE = 1e-9  # multipliers up to this times the largest are rounding of a zero
LONG_ENOUGH = 1e-140  # squares of a length above this do not underflow
LEAST = 2.0**-1000  # an answer whose largest entry is below it has lost digits to underflow
SHORTEST = 2.0**-800  # length of a row relative to the longest; below it bounds would be rounding


@dataclass(frozen=True, eq=False)
class MarginProblem:
    """Constraints <A_j, W> >= bound_j (or = 0), A_j = (key[plus] - key[minus]) query'.

    keys      [M d]    vectors on the side of the rows of W
    queries   [m e]    vectors on the side of its columns
    plus      [N] int  row of `keys` that is to win
    minus     [N] int  row of `keys` that is to lose; -1 stands for the zero vector
    query     [N] int  row of `queries`
    bound     [N]      right-hand sides, >= 0; 0 where equality
    equality  [N] bool

    >>> p = MarginProblem.of([[1.0, 0.0], [0.0, 0.0]], [[2.0]], [0], [1], [0])
    >>> p.matrix()
    array([[2., 0.]])
    """

    keys: Array
    queries: Array
    plus: Array
    minus: Array
    query: Array
    bound: Array
    equality: Array

    @classmethod
    def of(
        cls,
        keys: Any,
        queries: Any,
        plus: Any,
        minus: Any,
        query: Any,
        bound: Any = 1.0,
        equality: Any = False,
    ) -> MarginProblem:
        """A problem from array-likes; `bound` and `equality` broadcast over the rows.

        Raises NonFiniteError for NaN or infinity, DomainError for an index outside its table, a
        negative bound or an equality with another right-hand side than 0, EmptyProblemError if no
        row has a positive bound.
        """
        plus = _whole(plus, "plus")
        size = plus.shape
        if plus.ndim != 1:
            raise ShapeError(f"`plus` must be [N], one row number per constraint; got {list(size)}")
        bound = array(bound, "bound")
        if bound.dtype.kind not in "iuf":
            raise DTypeError(f"`bound` must hold real numbers; got dtype {bound.dtype}")
        problem = cls(
            real(keys, "keys", 2),
            real(queries, "queries", 2),
            plus,
            _spread(_whole(minus, "minus"), size, "minus"),
            _spread(_whole(query, "query"), size, "query"),
            _spread(bound.astype(np.float64), size, "bound"),
            _spread(np.array(equality, dtype=np.bool_), size, "equality"),
        )
        problem._validate()
        if not np.any(problem.bound):
            raise EmptyProblemError(
                "the problem has no constraint with a positive right-hand side (no token competes "
                "with a chosen one), so W = 0 solves it.  Give every sample at least two tokens."
            )
        return problem

    def _validate(self) -> None:
        for name, low, table in (
            ("plus", 0, self.keys),
            ("minus", -1, self.keys),
            ("query", 0, self.queries),
        ):
            index = getattr(self, name)
            if np.any((index < low) | (index >= len(table))):
                raise DomainError(
                    f"`{name}` must hold row numbers in [{low}, {len(table)}); got "
                    f"{index.min()} ... {index.max()}"
                )
        if not np.all((self.bound >= 0.0) & (self.bound < np.inf)):
            raise DomainError(
                "`bound` must hold finite numbers >= 0: exchange `plus` and `minus` of a row with "
                "a negative one"
            )
        if np.any(self.bound[self.equality]):
            raise DomainError("an equality must have `bound` 0; see `least_norm` for other targets")
        if 0 in self.shape:
            raise ShapeError(
                f"W is [d e] = {list(self.shape)}: tokens and queries need at least one coordinate"
            )
        with np.errstate(over="ignore"):
            if not np.all(np.isfinite(self.left)):
                raise DomainError(
                    "the difference of two tokens leaves the range of float64.  Multiply X by one "
                    "common factor; the answer is W over that factor."
                )

    @property
    def shape(self) -> tuple[int, int]:
        """(d, e), the shape of W."""
        return self.keys.shape[1], self.queries.shape[1]

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.plus)

    @cached_property
    def plain(self) -> bool:
        """Whether all rows are inequalities with positive right-hand sides."""
        return bool(np.all(self.bound > 0.0))

    @cached_property
    def left(self) -> Array:
        """The differences of keys, [N d]; each entry is rounded once."""
        lost = self.keys[self.minus]
        lost[self.minus < 0] = 0.0
        return self.keys[self.plus] - lost

    @cached_property
    def right(self) -> Array:
        """The queries of the rows, [N e]."""
        return self.queries[self.query]

    def matrix(self) -> Array:
        """A [N d*e], row-major; the slow twin of (left, right)."""
        d, e = self.shape
        return np.einsum("ji,jk->jik", self.left, self.right).reshape(self.size, d * e)

    def margins(self, W: Array) -> Array:
        """<A_j, W> for every row, [N]."""
        return np.einsum("je,je->j", self.left @ W, self.right)

    @cached_property
    def zero(self) -> Array:
        """[N] bool: rows that are zero (duplicated tokens, or a zero query)."""
        return np.logical_not(self.left.any(axis=1) & self.right.any(axis=1))

    def combine(self, lam: Array) -> Array:
        """sum_j lam_j A_j, [d e]."""
        (D, a), (Z, b) = _power(self.left), _power(self.right)  # lam may be huge where A is tiny
        return np.ldexp(D.T @ (lam[:, None] * Z), a + b)

    def rows(self, keep: Array) -> MarginProblem:
        """The problem with the rows selected by a mask or by indices."""
        names = ("plus", "minus", "query", "bound", "equality")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})

    def __repr__(self) -> str:
        d, e = self.shape
        equal = int(self.equality.sum())
        return f"MarginProblem(W [{d} {e}], {self.size - equal} inequalities, {equal} equalities)"

    def arrays(self) -> dict[str, Array]:
        """The data of the problem as witnesses."""
        names = ("keys", "queries", "plus", "minus", "query", "bound", "equality")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """The rows of a problem times one power of two, and as unit vectors.

    D [N d], Z [N e]  differences and queries, scaled exactly so that the largest entry is near 1
    unit_D, unit_Z    their rows divided by their lengths
    h [N]             bound_j / |A_j|, the right-hand sides of the unit rows
    query [N]         rows with the same number have the same query
    exponent          A_j = 2^exponent D_j Z_j'
    """

    D: Array
    Z: Array
    unit_D: Array
    unit_Z: Array
    length: Array
    h: Array
    query: Array
    exponent: int

    def gram(self) -> Array:
        """<A_i, A_j> of the unit rows: (D D') * (Z Z'), [N N]."""
        return (self.unit_D @ self.unit_D.T) * (self.unit_Z @ self.unit_Z.T)

    def matrix(self) -> Array:
        """The unit rows, [N d*e]."""
        G = self.unit_D[:, :, None] * self.unit_Z[:, None, :]
        return G.reshape(len(G), -1)


def scale(problem: MarginProblem) -> ScaledRows:
    """The rows brought near 1 by one power of two; rows of length 0 get h = inf or nan."""
    D, a = _power(problem.left)
    Z, b = _power(problem.right)
    d, z = _lengths(D), _lengths(Z)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        length = d * z
        h = problem.bound / length
        unit_D, unit_Z = D / d[:, None], Z / z[:, None]
    return ScaledRows(D, Z, unit_D, unit_Z, length, h, problem.query, a + b)


def _lengths(A: Array) -> Array:
    """Lengths of the rows; a row of tiny entries is brought near 1 first."""
    plain = np.sqrt(np.einsum("jk,jk->j", A, A))
    if plain.min() > LONG_ENOUGH:
        return plain
    top = np.abs(A).max(axis=1)
    scaled = A / np.where(top > 0.0, top, 1.0)[:, None]
    return top * np.sqrt(np.einsum("jk,jk->j", scaled, scaled))


def comparable(problem: MarginProblem, rows: ScaledRows) -> None:
    """Raise DomainError where a row is too short beside the longest one for float64."""
    j = int(rows.length.argmin())
    if rows.length[j] < SHORTEST:
        raise DomainError(
            f"row {j} (key {problem.plus[j]} against key {problem.minus[j]}, query "
            f"{problem.query[j]}) is shorter than the longest row by more than a factor 2^800, so "
            "float64 cannot weigh them against each other.  Bring samples to similar sizes, or "
            "drop this one."
        )


def shifted(A: Array, exponent: int, name: str) -> Array:
    """A times a power of two: exactly, but for entries 2^-170 times the largest or smaller.

    Raises DomainError where the largest entry leaves the range of normal float64.
    """
    with np.errstate(over="ignore", under="ignore"):
        out = np.ldexp(A, exponent)
    top = float(np.abs(out).max(initial=0.0))
    if not LEAST < top < np.inf and A.any():
        raise DomainError(
            f"the answer leaves the range of float64 ({name} of size {_size(A, exponent)}): the "
            "data are too small or too large.  Multiply X or z by one common factor; the answer is "
            "W over that factor."
        )
    return out


def _size(A: Array, exponent: int) -> str:
    """The largest entry of 2^exponent A as a power of two."""
    top = float(np.abs(A).max(initial=0.0))
    return f"2^{np.frexp(top)[1] + exponent}" if 0.0 < top < np.inf else "beyond 2^1024"


def _power(A: Array) -> tuple[Array, int]:
    exponent = frexp(np.abs(A).max())[1]
    return np.ldexp(A, -exponent), exponent


def array(x: Any, name: str) -> Array:
    """`x` as an array; a torch tensor is detached, rows of different lengths are a ShapeError."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.double().numpy() if x.is_floating_point() else x.numpy()
    try:
        return np.asarray(x)
    except ValueError as e:
        raise ShapeError(f"`{name}` has rows of different lengths") from e


def _spread(x: Array, size: tuple[int, ...], name: str) -> Array:
    if x.shape not in ((), (1,), size):
        raise ShapeError(f"`{name}` must be [N] = {list(size)} or one number; got {list(x.shape)}")
    return x if x.shape == size else np.full(size, x)


def _whole(x: Any, name: str) -> Array:
    x = array(x, name)
    if x.size and x.dtype.kind not in "iu":
        raise DTypeError(f"`{name}` must hold row numbers (integers); got dtype {x.dtype}")
    return x.astype(np.int64)


def real(x: Any, name: str, axes: int) -> Array:
    """`x` as a float64 array of the given number of axes, or a typed error that names it."""
    x = array(x, name)
    if x.dtype.kind not in "iuf":
        raise DTypeError(
            f"`{name}` must hold real numbers; got dtype {x.dtype}.  The SVM problems are real: "
            "pass real and imaginary parts as separate coordinates."
        )
    if x.ndim != axes:
        raise ShapeError(f"`{name}` must have {axes} axes; got shape {list(x.shape)}")
    x = x.astype(np.float64)
    if not np.all(np.isfinite(x)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise NonFiniteError(
            f"`{name}` must be finite; entry {index} is {x[index]}.  A margin is not defined for "
            "such data: mask or drop the sample."
        )
    return x


def selection(optimal: Any, n: int, T: int, name: str = "optimal") -> Array:
    """One token index per sample, checked: integers [n] in [0, T)."""
    chosen = array(optimal, name)
    if chosen.size and chosen.dtype.kind not in "iu":
        raise DTypeError(f"`{name}` must hold token indices (integers); got dtype {chosen.dtype}")
    if chosen.shape != (n,):
        raise ShapeError(
            f"`{name}` must be [n] = [{n}], one token index per sample of X; "
            f"got {list(chosen.shape)}"
        )
    if np.any((chosen < 0) | (chosen >= T)):
        i = int(np.flatnonzero((chosen < 0) | (chosen >= T))[0])
        raise DomainError(
            f"`{name}[{i}]` = {int(chosen[i])} is no token index: X has T = {T} tokens (0-based)"
        )
    return chosen.astype(np.int64)


def token_scores(scores: Any, n: int, T: int) -> Array:
    """`scores` as float64, checked to be [n T]: one per token of X."""
    scores = real(scores, "scores", 2)
    if scores.shape != (n, T):
        raise ShapeError(
            f"`scores` must be [n T] = [{n} {T}], one per token of X; got {list(scores.shape)}"
        )
    return scores


def against_others(chosen: Array, T: int) -> tuple[Array, Array, Array]:
    """(sample, plus, minus) of the rows that compare one token per sample with all others.

    chosen [n] in [0, T); plus and minus count the tokens of all samples: sample * T + token.

    >>> against_others(np.array([2, 0]), 3)[1:]
    (array([2, 2, 3, 3]), array([0, 1, 4, 5]))
    """
    sample, token = np.nonzero(np.arange(T) != chosen[:, None])
    return sample, sample * T + chosen[sample], sample * T + token


def attention_problem(X: Any, z: Any, optimal: Any) -> MarginProblem:
    """(x_{i,opt_i} - x_{it})' W z_i >= 1 for all samples i and tokens t != opt_i, i-major.

    X [n T d], z [n e], optimal [n] -> W [d e].  Source: tarzanagh2023, (Att-SVM).
    Raises ShapeError, DTypeError, NonFiniteError, DomainError, EmptyProblemError.

    >>> p = attention_problem([[[1.0], [3.0]]], [[2.0]], [0])
    >>> p.matrix()
    array([[-4.]])
    """
    X = real(X, "X", 3)
    n, T, d = X.shape
    z = real(z, "z", 2)
    if len(z) != n:
        raise ShapeError(
            f"`z` must be [n e] with n = {n}, one query per sample of X [{n} {T} {d}]; "
            f"got {list(z.shape)}"
        )
    sample, plus, minus = against_others(selection(optimal, n, T), T)
    return MarginProblem.of(X.reshape(n * T, d), z, plus, minus, sample)
