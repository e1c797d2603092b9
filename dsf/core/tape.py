"""Numpy operations, recorded once and repeated: a small computation without Python's share of it.

    tape = Tape(f, *inputs);   tape(*inputs) == f(*inputs)      for arrays of the same shapes

Equations do not look at the values of their arrays (symbols pass through them, too), so the
operations of one call are those of every call.  Views (axes moved, parts taken) are made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from dsf.core.ops import Array


class NotRecorded(Exception):
    """An operation whose repetition would not give what it gave."""


class Tape:
    """The numpy operations that f(*inputs) -> arrays applies, in their order.

    Every result has its own memory, which each call overwrites, outputs included: copy what is to
    stay.  Raises NotRecorded where f looks at values, or where the repetition, tried on random
    inputs, does not give what f gives: an operation that numpy does not announce was missed.

    >>> tape = Tape(lambda x, y: [np.exp(x).T @ y], np.zeros((2, 3)), np.ones((2, 1)))
    >>> x, y = np.arange(6.0).reshape(2, 3), np.full((2, 1), 2.0)
    >>> bool(np.array_equal(tape(x, y)[0], np.exp(x).T @ y))
    True
    """

    def __init__(self, f: Callable[..., Sequence[Array]], *inputs: Array) -> None:
        record = _Record()
        self._calls = record.calls
        self._inputs = [np.array(x) for x in inputs]
        watched = [_Watched.of(x, record) for x in self._inputs]
        self.outputs = [_plain(x) for x in f(*watched)]
        rng = np.random.default_rng(0)
        for _ in range(2):
            tried = [_random(rng, x) for x in inputs]
            if not all(map(_close, self(*tried), f(*tried))):
                raise NotRecorded("the repetition does not give what the function gives")

    def __call__(self, *inputs: Array) -> list[Array]:
        for held, x in zip(self._inputs, inputs, strict=True):
            held[...] = x
        for call in self._calls:
            call()
        return self.outputs


@dataclass
class _Record:
    """Operations in their order, and what came out of each: the same one is not done twice."""

    calls: list[Callable[[], object]] = field(default_factory=list)
    results: dict[Any, Array] = field(default_factory=dict)


class _Watched(np.ndarray):
    """An array whose operations are written down."""

    hidden = True  # for `ops.readable`: what is checked here would not be checked again
    record: _Record

    @staticmethod
    def of(x: Array, record: _Record) -> _Watched:
        watched = np.asarray(x).view(_Watched)
        watched.record = record
        return watched

    def __array_finalize__(self, parent: Any) -> None:
        self.record = getattr(parent, "record", _Record())

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            raise NotRecorded("an array is changed in place")
        if ufunc.nout != 1:
            raise NotRecorded("several new arrays")
        call, given = getattr(ufunc, method), [_plain(x) for x in inputs]
        key = (ufunc, method, *map(_place, given), *sorted(options.items()))
        results = self.record.results
        if key not in results:
            results[key] = found = np.asarray(call(*given, **options))
            self.record.calls.append(partial(call, *given, **options, out=found))
        return self.of(results[key], self.record)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if "linalg" in func.__module__:
            raise NotRecorded("what is solved for is looked at before")
        args, kwargs = _plain(args), _plain(kwargs)
        found = func(*args, **kwargs)
        if isinstance(found, list | tuple):
            return [self._taken(x, args, None) for x in found]
        if not isinstance(found, np.ndarray | np.generic):
            return found  # shapes and dtypes
        return self._taken(found, args, lambda: func(*args, **kwargs))

    def _taken(self, found: Any, args: Any, again: Callable[[], Any] | None) -> _Watched:
        """A view of an argument, which needs no repetition, or a new array, which does."""
        found = np.asarray(found)
        if not any(np.may_share_memory(found, x) for x in _arrays(args)):
            if again is None:
                raise NotRecorded("several new arrays")
            self.record.calls.append(lambda: np.copyto(found, again()))
        return self.of(found, self.record)

    def __getitem__(self, index: Any) -> Any:
        plain, index = _plain(self), _plain(index)
        return self._taken(plain[index], [plain], lambda: plain[index])

    def reshape(self, *shape: Any, **options: Any) -> Any:
        plain = _plain(self)
        found = plain.reshape(*shape, **options)
        return self._taken(found, [plain], lambda: plain.reshape(*shape, **options))

    def astype(self, *args: Any, **options: Any) -> Any:
        plain = _plain(self)
        found = plain.astype(*args, **options)
        return self._taken(found, [plain], lambda: plain.astype(*args, **options))

    def _looked_at(self, *args: Any, **options: Any) -> Any:
        raise NotRecorded("a value is looked at")

    __bool__ = __float__ = __int__ = __complex__ = item = tolist = _looked_at


def _place(x: Any) -> Any:
    """Where an array lies, or a number itself: equal for equal arguments of recorded operations."""
    if isinstance(x, np.ndarray):
        return x.__array_interface__["data"][0], x.shape, x.strides, x.dtype
    return type(x), x


def _plain(x: Any) -> Any:
    """The arrays themselves, also inside of lists, tuples and dictionaries."""
    if isinstance(x, _Watched):
        return x.view(np.ndarray)
    if isinstance(x, list | tuple):
        return type(x)(map(_plain, x))
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    return x


def _arrays(x: Any) -> list[Array]:
    if isinstance(x, list | tuple):
        return [y for part in x for y in _arrays(part)]
    return [x] if isinstance(x, np.ndarray) else []


def _random(rng: np.random.Generator, x: Array) -> Array:
    values = rng.standard_normal(x.shape)
    if x.dtype.kind == "c":
        values = values + 1j * rng.standard_normal(x.shape)
    return values.astype(x.dtype)


def _close(x: Array, y: Array) -> bool:
    """Equal to half of the digits: the last ones depend on where arrays lie in memory."""
    small = float(np.finfo(y.dtype).eps) ** 0.5
    return x.dtype == y.dtype and np.allclose(
        x, y, rtol=small, atol=small * np.abs(y).max(initial=0.0), equal_nan=True
    )
