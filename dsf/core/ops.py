"""The functions that equations are written in; each looks at its argument and picks the world.

One text of a mechanism runs on numpy floats, torch tensors, sympy symbols (object arrays) and Arb
balls (object arrays).  Besides these functions an equation may use `+ - * / @`, indexing and
integer powers, which all four worlds share.

>>> import numpy as np, sympy
>>> float(sigmoid(np.zeros(1))[0])
0.5
>>> sigmoid(np.array([sympy.Symbol("x")]))[0]
1/(1 + exp(-x))
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Array = Any  # numpy array, torch tensor, or object array of sympy expressions or Arb balls


def is_torch(x: Any) -> bool:
    """Whether x is a torch tensor; torch is never imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _torch() -> Any:
    return sys.modules["torch"]


def world(*xs: Any) -> str:
    """ "float", "torch", "sympy" or "ball": the world of the first argument that decides."""
    for x in xs:
        if is_torch(x):
            return "torch"
    for x in xs:
        x = np.asarray(x)
        if x.dtype == object:
            for e in x.flat:
                module = type(e).__module__.partition(".")[0]
                if module == "flint":
                    return "ball"
                if module == "sympy":
                    return "sympy"
    return "float"


def is_float(*xs: Any) -> bool:
    """Whether all arguments live in a world of floating-point numbers (numpy or torch)."""
    return world(*xs) in ("float", "torch")


def _elementwise(f: Callable[..., Any], *xs: Any) -> np.ndarray:
    return np.asarray(np.frompyfunc(f, len(xs), 1)(*xs), dtype=object)


def _ball(e: Any) -> Any:
    """An element as an Arb ball (integers and fractions become exact)."""
    import flint

    if isinstance(e, (flint.arb, flint.acb)):
        return e
    if isinstance(e, Fraction):
        return flint.arb(e.numerator) / e.denominator
    return flint.acb(e) if isinstance(e, complex) else flint.arb(e)


def _unary(name: str, float_f: Callable[[Any], Any] | None = None) -> Callable[[Array], Array]:
    def f(x: Array) -> Array:
        w = world(x)
        if w == "torch":
            return getattr(_torch(), name)(x)
        if w == "sympy":
            import sympy

            return _elementwise(getattr(sympy, name), x)
        if w == "ball":
            return _elementwise(lambda e: getattr(_ball(e), name)(), x)
        return (float_f or getattr(np, name))(np.asarray(x))

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"Elementwise {name}."
    return f


exp = _unary("exp")
log = _unary("log")
sqrt = _unary("sqrt")
tanh = _unary("tanh")
sin = _unary("sin")
cos = _unary("cos")


def expm1(x: Array) -> Array:
    """e^x - 1 without the cancellation near 0."""
    w = world(x)
    if w == "torch":
        return _torch().expm1(x)
    if w == "sympy":
        return exp(x) - 1
    if w == "ball":
        return _elementwise(lambda e: _ball(e).expm1(), x)
    return np.expm1(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^{-x})."""
    w = world(x)
    if w == "torch":
        return _torch().sigmoid(x)
    if w == "float":
        x = np.asarray(x)
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    return 1 / (1 + exp(-x))


def softplus(x: Array) -> Array:
    """log(1 + e^x)."""
    w = world(x)
    if w == "torch":
        return _torch().logaddexp(x, _torch().zeros((), dtype=x.dtype, device=x.device))
    if w == "float":
        return np.logaddexp(x, np.zeros((), dtype=np.asarray(x).dtype))
    return log(1 + exp(x))


def logsigmoid(x: Array) -> Array:
    """log sigmoid(x) = -softplus(-x)."""
    return -softplus(-x)


def absolute(x: Array) -> Array:
    """|x|, elementwise; balls give the ball of absolute values."""
    w = world(x)
    if w == "torch":
        return _torch().abs(x)
    if w == "sympy":
        import sympy

        return _elementwise(sympy.Abs, x)
    if w == "ball":
        return _elementwise(lambda e: abs(_ball(e)), x)
    return np.abs(x)


def maximum(x: Array, y: Array) -> Array:
    """max(x, y), elementwise; of balls, the ball of maxima (numpy's would be unsound)."""
    w = world(x, y)
    if w == "torch":
        t = x if is_torch(x) else y
        return _torch().maximum(_torch().as_tensor(x).to(t), _torch().as_tensor(y).to(t))
    if w == "sympy":
        import sympy

        return _elementwise(sympy.Max, x, y)
    if w == "ball":
        return _elementwise(lambda a, b: _ball(a).max(_ball(b)), x, y)
    return np.maximum(x, y)


def where_positive(x: Array, a: Array, b: Array) -> Array:
    """a where x > 0, b elsewhere; a ball that straddles zero gives the union of a and b."""
    w = world(x, a, b)
    if w == "torch":
        return _torch().where(x > 0, a, b)
    if w == "sympy":
        import sympy

        return _elementwise(lambda t, p, q: sympy.Piecewise((p, t > 0), (q, True)), x, a, b)
    if w == "ball":
        return _elementwise(_ball_where, x, a, b)
    return np.where(np.asarray(x) > 0, a, b)


def _ball_where(x: Any, a: Any, b: Any) -> Any:
    if x > 0:
        return _ball(a)
    return _ball(b) if x <= 0 else _ball(a).union(_ball(b))


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return maximum(x, zeros_like(x))


def elu1(x: Array) -> Array:
    """elu(x) + 1: x + 1 where x > 0, e^x elsewhere (computed so that neither branch overflows)."""
    return where_positive(x, x + 1, exp(-relu(-x)) if is_float(x) else exp(x))


def real(x: Array) -> Array:
    """Real part, elementwise."""
    w = world(x)
    if w == "torch":
        return x.real
    if w == "sympy":
        from dsf.core.algebra.parts import real_part

        return _elementwise(real_part, x)
    if w == "ball":
        import flint

        return _elementwise(lambda e: e.real if isinstance(e, flint.acb) else _ball(e), x)
    return np.real(x)


def conj(x: Array) -> Array:
    """Complex conjugate, elementwise."""
    w = world(x)
    if w == "torch":
        return x.conj()
    if w == "sympy":
        import sympy

        return _elementwise(sympy.conjugate, x)
    if w == "ball":
        import flint

        return _elementwise(
            lambda e: flint.acb(e.real, -e.imag) if isinstance(e, flint.acb) else _ball(e), x
        )
    return np.conj(x)


def cis(x: Array) -> Array:
    """e^{i x} for real x (a literal imaginary unit would put a Float into symbolic results)."""
    w = world(x)
    if w == "torch":
        return _torch().complex(_torch().cos(x), _torch().sin(x))
    if w == "sympy":
        import sympy

        return _elementwise(lambda e: sympy.cos(e) + sympy.I * sympy.sin(e), x)
    if w == "ball":
        import flint

        return _elementwise(lambda e: flint.acb(_ball(e).cos(), _ball(e).sin()), x)
    return np.exp(1j * np.asarray(x))


def as_complex(re: Array, im: Array) -> Array:
    """re + i im for real arrays re and im."""
    w = world(re, im)
    if w == "torch":
        re, im = _torch().broadcast_tensors(re, im)
        return _torch().complex(re, im)
    if w == "sympy":
        import sympy

        return _elementwise(lambda a, b: a + sympy.I * b, re, im)
    if w == "ball":
        import flint

        return _elementwise(lambda a, b: flint.acb(_ball(a), _ball(b)), re, im)
    return np.asarray(re) + 1j * np.asarray(im)


def asum(x: Array, axis: int = -1, keepdims: bool = True) -> Array:
    """Sum along one axis, which stays as size 1 unless keepdims is False."""
    if is_torch(x):
        return x.sum(dim=axis, keepdim=keepdims)
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdims), dtype=np.asarray(x).dtype)


def softmax(x: Array, mask: np.ndarray | None = None) -> Array:
    """Softmax along the last axis over the entries where `mask` is True (None: all of them).

    A row without an allowed finite logit gives zeros.  In the float worlds the row maximum is
    subtracted first; in the others nothing can overflow.  Raises DomainError where an allowed
    logit is +inf: the limit is not unique.
    """
    w = world(x)
    if w == "torch":
        if mask is not None:
            x = x.masked_fill(~_torch().as_tensor(mask, device=x.device), -float("inf"))
        top = x.amax(-1, keepdim=True) if x.shape[-1] else x.sum(-1, keepdim=True)
        _refuse_infinite(bool((top == float("inf")).any()))
        e = (x - top.detach().masked_fill(top == -float("inf"), 0)).exp()
        total = e.sum(-1, keepdim=True)
        return e / total.masked_fill(total == 0, 1)
    if w == "float":
        x = np.asarray(x)
        if mask is not None:
            x = np.where(mask, x, np.array(-np.inf, dtype=x.dtype))
        top = x.max(-1, keepdims=True, initial=-np.inf)
        _refuse_infinite(bool(np.any(top == np.inf)))
        e = np.exp(x - np.where(top == -np.inf, 0, top).astype(x.dtype))
        total = e.sum(-1, keepdims=True)
        return e / np.where(total == 0, 1, total).astype(x.dtype)
    e = exp(x)
    if mask is not None:
        e = _elementwise(lambda value, seen: value if seen else 0 * value, e, mask)
    return e / asum(e)


def logits(q: Array, k: Array, mask: np.ndarray) -> Array:
    """q k' [... L T] for q [... L n], k [... T n].

    Raises OverflowingScanError where a finite query and a finite key that `mask` lets meet give
    an infinite logit: -inf would be a silent weight of 0.
    """
    x = q @ mT(k)
    if not is_float(x):
        return x
    finite = _torch().isfinite if is_torch(x) else np.isfinite
    if not bool(finite(x).all()):
        allowed = _torch().as_tensor(mask, device=x.device) if is_torch(x) else mask
        rows, columns = expand(finite(q).all(-1), -1), expand(finite(k).all(-1), -2)
        bad = ~finite(x) & rows & columns & allowed
        if bool(bad.any()):
            from dsf.core.errors import OverflowingScanError

            raise OverflowingScanError(
                f"attention: a logit left the range of {x.dtype}, although its query and key are "
                "finite. Likely cause: input too large; rescale it or use a wider dtype."
            )
    return x


def _refuse_infinite(bad: bool) -> None:
    if bad:
        from dsf.core.errors import DomainError

        raise DomainError(
            "softmax: a logit is +inf, so the weights have no unique limit. Likely cause: an "
            "infinite or overflowing query or key; rescale them or use a wider dtype."
        )


def l2norm(x: Array) -> Array:
    """Euclidean norm along the last axis, kept as size 1; scaled: no overflow, no underflow."""
    w = world(x)
    if w == "torch":
        top = x.detach().abs().amax(-1, keepdim=True)
        top = top.where((top > 0) & top.isfinite(), _torch().ones_like(top))
        return top * _torch().linalg.vector_norm(x / top, dim=-1, keepdim=True)
    if w == "float":
        x = np.asarray(x)
        top = np.max(np.abs(x), axis=-1, keepdims=True, initial=0)
        top = np.where((top > 0) & np.isfinite(top), top, 1).astype(top.dtype)
        return top * np.sqrt(np.sum((x / top) ** 2, axis=-1, keepdims=True))
    if w == "ball":
        # a square is never negative; the plain product of a straddling ball with itself is
        return _elementwise(_ball_root, asum(_elementwise(lambda e: abs(_ball(e)) ** 2, x)))
    return sqrt(asum(x * x))


def _ball_root(e: Any) -> Any:
    """Square root of the non-negative part of a ball (a norm may touch zero)."""
    low = e.lower()
    return (low.sqrt() if low > 0 else low * 0).union(e.upper().sqrt())


def normalise(x: Array) -> Array:
    """x / |x| along the last axis; the zero vector stays zero (float worlds)."""
    size = l2norm(x)
    if is_torch(x):
        return x / size.masked_fill(size == 0, 1)
    return x / (np.where(size == 0, 1, size).astype(size.dtype) if is_float(x) else size)


def cat(xs: Sequence[Array], axis: int = -1) -> Array:
    """Concatenation along an axis; the other axes are broadcast."""
    if any(is_torch(x) for x in xs):
        dt = _torch().result_type(xs[0], xs[-1])
        xs = _broadcast_but([_torch().as_tensor(x).to(dt) for x in xs], axis)
        return _torch().cat(xs, dim=axis)
    return np.concatenate(_broadcast_but([np.asarray(x) for x in xs], axis), axis=axis)


def stack(xs: Sequence[Array], axis: int) -> Array:
    """Stack along a new axis (negative, counted in the result); the arrays are broadcast."""
    return cat([expand(x, axis) for x in xs], axis)


def expand(x: Array, axis: int) -> Array:
    """Insert an axis of size 1."""
    return x.unsqueeze(axis) if is_torch(x) else np.expand_dims(x, axis)


def _broadcast_but(xs: Sequence[Any], axis: int) -> list[Any]:
    """Broadcast all axes except `axis` (negative)."""
    shapes = [list(x.shape) for x in xs]
    for s in shapes:
        s[axis] = 1
    common = list(np.broadcast_shapes(*[tuple(s) for s in shapes]))
    return [broadcast_to(x, [*common[:axis], x.shape[axis], *_tail(common, axis)]) for x in xs]


def _tail(shape: list[int], axis: int) -> list[int]:
    return shape[axis + 1 :] if axis != -1 else []


def broadcast_to(x: Array, shape: Sequence[int]) -> Array:
    """x repeated to a shape, without copying."""
    return x.expand(*shape) if is_torch(x) else np.broadcast_to(x, shape)


def cumsum(x: Array, axis: int) -> Array:
    """Cumulative sum along an axis."""
    return x.cumsum(axis) if is_torch(x) else np.cumsum(x, axis=axis, dtype=np.asarray(x).dtype)


def mT(x: Array) -> Array:
    """Transpose of the last two axes."""
    return x.transpose(-1, -2) if is_torch(x) else np.swapaxes(x, -1, -2)


def moveaxis(x: Array, source: int, target: int) -> Array:
    """Move one axis."""
    return x.movedim(source, target) if is_torch(x) else np.moveaxis(x, source, target)


def const(value: int | Fraction, like: Array) -> Array:
    """The number `value` as a 0-d array in the world of `like`; exact where possible."""
    w = world(like)
    if w == "torch":
        return _torch().as_tensor(float(value), dtype=_real_dtype(like), device=like.device)
    if w == "sympy":
        import sympy

        f = Fraction(value)
        return np.array(sympy.Rational(f.numerator, f.denominator), dtype=object)
    if w == "ball":
        return np.array(_ball(Fraction(value)), dtype=object)
    dtype = np.asarray(like).dtype
    return np.array(float(value), dtype=dtype if dtype.kind == "f" else np.float64)


def _real_dtype(x: Any) -> Any:
    return x.real.dtype if x.is_complex() else x.dtype


def pi(like: Array) -> Array:
    """The number pi in the world of `like`."""
    w = world(like)
    if w == "sympy":
        import sympy

        return np.array(sympy.pi, dtype=object)
    if w == "ball":
        import flint

        return np.array(flint.arb.pi(), dtype=object)
    return const(1, like) * np.pi


def zeros(shape: Sequence[int], like: Array) -> Array:
    """Zeros of a shape in the world of `like`."""
    if is_torch(like):
        return _torch().zeros(*shape, dtype=like.dtype, device=like.device)
    if np.asarray(like).dtype == object:
        return np.full(tuple(shape), const(0, like)[()], dtype=object)
    return np.zeros(tuple(shape), dtype=np.asarray(like).dtype)


def ones(shape: Sequence[int], like: Array) -> Array:
    """Ones of a shape in the world of `like`."""
    return zeros(shape, like) + const(1, like)


def zeros_like(x: Array) -> Array:
    """Zeros of the shape and world of x."""
    return zeros(x.shape, x)


def ones_like(x: Array) -> Array:
    """Ones of the shape and world of x."""
    return ones(x.shape, x)


def eye(n: int, like: Array) -> Array:
    """The identity matrix [n n] in the world of `like`."""
    out = zeros((n, n), like)
    one = const(1, like)
    for i in range(n):
        out[i, i] = one[()]
    return out


def row(x: Array) -> Array:
    """[... n] -> [... 1 n]: vectors as row matrices."""
    return expand(x, -2)


def col(x: Array) -> Array:
    """[... n] -> [... n 1]: vectors as column matrices."""
    return expand(x, -1)
