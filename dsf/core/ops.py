"""The functions that equations are written in; each looks at its argument and picks the world.

One text of a mechanism runs on numpy floats, torch tensors, sympy symbols, Arb balls and gaps
between two runs (object arrays): see `dsf.core.worlds`.  Besides these functions an equation may
use `+ - * / @`, indexing and integer powers, which all worlds share.

>>> import numpy as np, sympy
>>> float(sigmoid(np.zeros(1))[0])
0.5
>>> sigmoid(np.array([sympy.Symbol("x")]))[0]
1/(1 + exp(-x))
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.arrays import real_dtype
from dsf.core.conditioning import singular
from dsf.core.errors import DomainError, IllConditionedError, OverflowingScanError
from dsf.core.worlds import (
    ARB,
    GAPS,
    NUMPY,
    TORCH,
    Array,
    FloatWorld,
    World,
    holder,
    is_torch,
    world,
)

INFINITY = float("inf")
MANY = 64  # rows from which on copying the matrices of all heads into one pays


def is_float(*xs: Any) -> bool:
    """Whether all arguments live in a world of floating-point numbers (numpy or torch)."""
    return isinstance(world(*xs), FloatWorld)


def readable(*xs: Any) -> bool:
    """Whether all are floats whose values may be looked at, so that checks can be made.

    Inside of transforms of torch (vmap, grad, jacrev, jvp, compile, export) and while operations
    are recorded (`dsf.core.tape`) they may not.
    """
    return is_float(*xs) and not any(map(_hidden, xs))


def _hidden(x: Any) -> bool:
    if not is_torch(x):
        return getattr(x, "hidden", False)
    import torch

    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return bool(wrapped or torch.compiler.is_compiling() or type(x).__name__ == "FakeTensor")


def is_complex(x: Array) -> bool:
    """Whether an array of floats, balls or gaps is complex; symbols are taken as real."""
    if is_torch(x):
        return bool(x.is_complex())
    if x.dtype != object:
        return bool(x.dtype.kind == "c")
    held = (getattr(e, "x", e) for e in x.flat)  # of a gap the number itself
    return world(x) in (ARB, GAPS) and any(type(e).__name__ == "acb" for e in held)


# ------------------------------------------------------------------ elementwise
def exp(x: Array) -> Array:
    """e^x."""
    return world(x).unary("exp", x)


def expm1(x: Array) -> Array:
    """e^x - 1 without the cancellation near 0."""
    return world(x).unary("expm1", x)


def log(x: Array) -> Array:
    """The natural logarithm."""
    return world(x).unary("log", x)


def sqrt(x: Array) -> Array:
    """The square root."""
    return world(x).unary("sqrt", x)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return world(x).unary("tanh", x)


def sin(x: Array) -> Array:
    """The sine."""
    return world(x).unary("sin", x)


def cos(x: Array) -> Array:
    """The cosine."""
    return world(x).unary("cos", x)


def arctan2(y: Array, x: Array) -> Array:
    """The angle of x + i y in (-pi, pi]."""
    return world(y, x).arctan2(y, x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^{-x})."""
    return world(x).sigmoid(x)


def softplus(x: Array) -> Array:
    """log(1 + e^x)."""
    return world(x).softplus(x)


def logsigmoid(x: Array) -> Array:
    """log sigmoid(x) = -softplus(-x)."""
    return -softplus(-x)


def absolute(x: Array) -> Array:
    """|x|; balls give the ball of absolute values."""
    return world(x).unary("abs", x)


def maximum(x: Array, y: Array) -> Array:
    """max(x, y); of balls, the ball of maxima (numpy's would be unsound)."""
    return world(x, y).maximum(x, y)


def where_positive(x: Array, a: Array, b: Array) -> Array:
    """a where x > 0, b elsewhere; a ball that straddles zero gives the union of a and b."""
    return world(x, a, b).where_positive(x, a, b)


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return maximum(x, zeros_like(x))


def elu1(x: Array) -> Array:
    """elu(x) + 1: x + 1 where x > 0, e^x elsewhere (computed so that neither branch overflows)."""
    return where_positive(x, x + 1, exp(-relu(-x)) if is_float(x) else exp(x))


def real(x: Array) -> Array:
    """The real part."""
    return world(x).unary("real", x)


def conj(x: Array) -> Array:
    """The complex conjugate."""
    return world(x).unary("conj", x)


def cis(x: Array) -> Array:
    """e^{i x} for real x (a literal imaginary unit would put a Float into symbolic results)."""
    return world(x).cis(x)


def as_complex(re: Array, im: Array) -> Array:
    """re + i im for real arrays re and im."""
    return world(re, im).as_complex(re, im)


def isfinite(x: Array) -> Array:
    """Whether each float is finite, neither infinite nor NaN (float worlds)."""
    return holder(x).isfinite(x)


# ------------------------------------------------------------- along the last axis
def asum(x: Array, axis: int = -1, keepdims: bool = True) -> Array:
    """Sum along one axis, which stays as size 1 unless keepdims is False."""
    return holder(x).asum(x, axis, keepdims)


def softmax(x: Array, mask: np.ndarray | None = None) -> Array:
    """Softmax along the last axis over the entries where `mask` is True (None: all of them).

    A row without an allowed finite logit gives zeros.  In the float worlds the row maximum is
    subtracted first; in the others nothing can overflow.  Raises DomainError where an allowed
    logit is +inf: the limit is not unique.
    """
    w = world(x)
    if not isinstance(w, FloatWorld):
        if mask is None:
            return exp(x) / asum(exp(x))
        e = w.keep(exp(x), mask, 0)
        return e / w.keep(asum(e), np.any(mask, -1, keepdims=True), 1)
    x = w.array(x)
    if mask is not None:
        x = w.keep(x, mask, -INFINITY)
    top = w.detach(w.largest(x))
    if readable(top):
        _refuse_infinite(bool((top == INFINITY).any()))
    e = exp(x - w.keep(top, top != -INFINITY, 0))
    total = asum(e)
    return e / w.keep(total, total != 0, 1)


def _refuse_infinite(bad: bool) -> None:
    if bad:
        raise DomainError(
            "softmax: a logit is +inf, so the weights have no unique limit. Likely cause: an "
            "infinite or overflowing query or key; rescale them or use a wider dtype."
        )


def logits(q: Array, k: Array, mask: np.ndarray) -> Array:
    """q k' [... L T] for q [... L n], k [... T n].

    Raises OverflowingScanError where a finite query and a finite key that `mask` lets meet give
    an infinite logit: -inf would be a silent weight of 0.
    """
    x = q @ mT(k)
    w = world(x)
    if not readable(x) or bool(isfinite(x).all()):
        return x
    rows, columns = expand(isfinite(q).all(-1), -1), expand(isfinite(k).all(-1), -2)
    if bool(w.keep(~isfinite(x) & rows & columns, mask, False).any()):
        raise OverflowingScanError(
            f"attention: a logit left the range of {x.dtype}, although its query and key are "
            "finite. Likely cause: input too large; rescale it or use a wider dtype."
        )
    return x


def l2norm(x: Array) -> Array:
    """Euclidean norm along the last axis, kept as size 1; scaled: no overflow, no underflow."""
    w = world(x)
    if not isinstance(w, FloatWorld):
        return w.norm(x)
    top = w.largest(absolute(w.detach(x)))
    top = w.keep(top, (top > 0) & isfinite(top), 1)
    return top * w.norm(x / top)


def normalise(x: Array) -> Array:
    """x / |x| along the last axis; the zero vector stays zero (float worlds)."""
    w, size = world(x), l2norm(x)
    return x / (w.keep(size, size != 0, 1) if isinstance(w, FloatWorld) else size)


# ------------------------------------------------------------------------- axes
def cat(xs: Sequence[Array], axis: int = -1) -> Array:
    """Concatenation along an axis; the other axes are broadcast."""
    w = TORCH if any(is_torch(x) for x in xs) else NUMPY
    return w.cat(_broadcast_but(w, [w.array(x) for x in xs], axis), axis)


def stack(xs: Sequence[Array], axis: int) -> Array:
    """Stack along a new axis (negative, counted in the result); the arrays are broadcast."""
    return cat([expand(x, axis) for x in xs], axis)


def expand(x: Array, axis: int) -> Array:
    """Insert an axis of size 1."""
    return holder(x).expand(x, axis)


def _broadcast_but(w: World, xs: Sequence[Array], axis: int) -> list[Array]:
    """Broadcast all axes except `axis` (negative)."""
    shapes = [list(x.shape) for x in xs]
    for s in shapes:
        s[axis] = 1
    common = list(np.broadcast_shapes(*[tuple(s) for s in shapes]))
    return [w.broadcast_to(x, [*common[:axis], x.shape[axis], *_tail(common, axis)]) for x in xs]


def _tail(shape: list[int], axis: int) -> list[int]:
    return shape[axis + 1 :] if axis != -1 else []


def broadcast_to(x: Array, shape: Sequence[int]) -> Array:
    """x repeated to a shape, without copying."""
    return holder(x).broadcast_to(x, shape)


def cumsum(x: Array, axis: int) -> Array:
    """Cumulative sum along an axis."""
    return holder(x).cumsum(x, axis)


def mT(x: Array) -> Array:
    """Transpose of the last two axes."""
    return holder(x).mT(x)


def moveaxis(x: Array, source: int, target: int) -> Array:
    """Move one axis."""
    return holder(x).moveaxis(x, source, target)


def row(x: Array) -> Array:
    """[... n] -> [... 1 n]: vectors as row matrices."""
    return expand(x, -2)


def col(x: Array) -> Array:
    """[... n] -> [... n 1]: vectors as column matrices."""
    return expand(x, -1)


def split_heads(u: Array) -> Array:
    """[... L d] -> [... 1 L d], ready to be multiplied by [H d n].

    >>> split_heads(np.ones((5, 4))).shape
    (1, 5, 4)
    """
    return expand(u, -3)


def outer(a: Array, b: Array) -> Array:
    """a @ b; where the inner axis has size 1 as products of entries, which take less time.

    >>> outer(np.array([[2.0], [3.0]]), np.array([[1.0, 10.0]]))
    array([[ 2., 20.],
           [ 3., 30.]])
    """
    return a * b if a.shape[-1] == 1 == b.shape[-2] else a @ b


def project(u: Array, W: Array) -> Array:
    """u W for the matrix of every head: [... L d], [H d n] -> [... H L n].

    >>> project(np.ones((5, 4)), np.ones((3, 4, 2))).shape
    (3, 5, 2)
    """
    if W.ndim != 3 or u.shape[-2] < MANY or not is_float(u, W):
        return split_heads(u) @ W
    heads, d, n = W.shape  # one wide product; narrow ones read all of u for each head
    y = u @ moveaxis(W, 0, 1).reshape(d, heads * n)
    return moveaxis(y.reshape(*y.shape[:-1], heads, n), -2, -3)


def channels(x: Array) -> Array:
    """[... L D] -> [... D L 1]: channels as heads.

    >>> channels(np.ones((5, 4))).shape
    (4, 5, 1)
    """
    return col(mT(x))


def as_pairs(x: Array) -> Array:
    """[... n] real -> [... n/2] complex, x_i + i x_{i + n/2}.

    >>> as_pairs(np.array([1.0, 2.0]))
    array([1.+2.j])
    """
    half = x.shape[-1] // 2
    return as_complex(x[..., :half], x[..., half:])


def rotate(x: Array, angle: Array) -> Array:
    """Each pair (x_i, x_{i + n/2}) turned by its angle [... n/2]."""
    half = x.shape[-1] // 2
    a, b, c, s = x[..., :half], x[..., half:], cos(angle), sin(angle)
    return cat([a * c - b * s, a * s + b * c])


def expm1_over(x: Array) -> Array:
    """(e^x - 1)/x, which is 1 at 0.

    >>> expm1_over(np.array([0.0, 1e-12])).tolist()
    [1.0, 1.0000000000005]
    """
    if not is_float(x):
        return expm1(x) / x
    w = world(x)
    safe = w.keep(x, x != 0, 1)
    return w.keep(expm1(safe) / safe, x != 0, 1)


def phase(theta: Array, position: Array) -> Array:
    """theta position, an angle; floats are multiplied and reduced by whole turns in float64 first.

    In float32 the product alone would be off by 0.1 at position 2^24.
    """
    return world(theta, position).phase(theta, position)


def positions(t: int, L: int, like: Array) -> Array:
    """The numbers t .. t+L-1 [L 1] in the world of `like`; floats in float64, which is exact."""
    return world(like).positions(t, L, like)


# ---------------------------------------------------------------------- numbers
def const(value: int | Fraction, like: Array) -> Array:
    """The number `value` as a 0-d array in the world of `like`; exact where possible."""
    return world(like).const(value, like, real_dtype(like))


def pi(like: Array) -> Array:
    """The number pi in the world of `like`."""
    return world(like).pi(like, real_dtype(like))


def zeros(shape: Sequence[int], like: Array) -> Array:
    """Zeros of a shape in the world of `like`."""
    return world(like).zeros(shape, like)


def ones(shape: Sequence[int], like: Array) -> Array:
    """Ones of a shape in the world of `like`."""
    return zeros(shape, like) + const(1, like)


def zeros_like(x: Array) -> Array:
    """Zeros of the shape and world of x."""
    return zeros(x.shape, x)


def ones_like(x: Array) -> Array:
    """Ones of the shape and world of x."""
    return ones(x.shape, x)


def logsumexp(x: Array, mask: np.ndarray) -> Array:
    """log sum e^x along the last axis over the entries where `mask` is True, kept as size 1.

    In the float worlds the row maximum is subtracted first.
    """
    w = world(x)
    if not isinstance(w, FloatWorld):
        return log(asum(w.keep(exp(x), mask, 0)))
    x = w.keep(x, mask, -INFINITY)
    top = w.detach(w.largest(x))
    return top + log(asum(exp(x - top)))


def solve(A: Array, b: Array) -> Array:
    """A^-1 b for symmetric positive definite A [... n n] and b [... n m].

    LAPACK on floats, elimination in the other worlds.  Raises IllConditionedError where a float
    matrix is singular to the working precision.
    """
    found = singular(A) if readable(A) else None
    if found:
        raise IllConditionedError(
            f"solve: the matrix at {found[0]} {found[1]}, so the solution is not determined. "
            "Likely cause: a ridge that is tiny beside the squares of the keys. Raise the ridge, "
            "or scale the input down."
        )
    return world(A, b).solve(A, b)


def eye(n: int, like: Array) -> Array:
    """The identity matrix [n n] in the world of `like`."""
    out = zeros((n, n), like)
    one = const(1, like)
    for i in range(n):
        out[i, i] = one[()]
    return out
