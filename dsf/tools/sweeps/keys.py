"""What a task of a sweep is, as text: the key of its file and the seed of its random numbers."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError

FORMAT = 1  # of the files; another one is not read


def text_of(x: Any, place: str) -> str:
    """The same text for the same value, in every process and on every machine.

    Numbers (also of numpy), text, paths, None, arrays, and lists, tuples and dicts of these by
    value; functions by name, code, defaults and what they close over; classes by name.  Raises
    DTypeError for anything else, with its place.

    >>> text_of({"n": np.int64(3), "x": (0.5, None)}, "") == text_of({"x": [0.5, None], "n": 3}, "")
    True
    >>> text_of(1, "") == text_of(1.0, "") or text_of(1, "") == text_of(True, "")
    False
    >>> text_of({"device": object()}, "task")
    Traceback (most recent call last):
    dsf.core.errors.DTypeError: sweep: task['device'] is of type object, which has no text that ...
    """
    return json.dumps(_coded(x, place, ()), sort_keys=True)


def key_of(function: str, parameters: Mapping[str, Any], seed: int | None) -> str:
    """The key of a task; `function`: the text of its function and its version."""
    task = [FORMAT, function, text_of(parameters, "task"), seed]
    return hashlib.sha256(json.dumps(task).encode()).hexdigest()[:32]


def rng_of(seed: int, parameters: Mapping[str, Any]) -> np.random.Generator:
    """The random numbers of a task: they depend on the seed and on its parameters alone.

    The spawn key of the SeedSequence is the hash of the parameters, so neither the order of the
    tasks nor their number changes what one of them draws.
    """
    digest = hashlib.sha256(text_of(parameters, "task").encode()).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(words)))


def _coded(x: Any, place: str, inside: tuple[int, ...]) -> Any:
    """Lists that JSON writes one way only; every kind but plain values begins with its name."""
    if isinstance(x, np.generic):
        x = x.item()
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, complex):
        return ["complex", x.real, x.imag]
    if isinstance(x, os.PathLike):
        return ["path", str(x)]
    if isinstance(x, (list, tuple)):
        return ["list", *(_coded(v, f"{place}[{i}]", inside) for i, v in enumerate(x))]
    if isinstance(x, Mapping) and all(isinstance(k, str) for k in x):
        return ["dict", {k: _coded(v, f"{place}[{k!r}]", inside) for k, v in x.items()}]
    if isinstance(x, np.ndarray) and not x.dtype.hasobject:
        digest = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
        return ["array", x.dtype.str, list(x.shape), digest]
    if callable(x) and id(x) in inside:  # a function that calls itself
        return ["above", len(inside) - inside.index(id(x))]
    found = _function(x, place, (*inside, id(x)))
    if found is None:
        raise DTypeError(
            f"sweep: {place} is of type {type(x).__name__}, which has no text that is the same in "
            "every process, and tasks are known by such texts.  Put a name or the numbers into "
            "the grid, and make the object in the function"
        )
    return found


def _function(x: Any, place: str, inside: tuple[int, ...]) -> Any:
    """A function, a class, or something made from a function; None for other objects."""
    if isinstance(x, functools.partial):
        parts = {"function": x.func, "positional": x.args, "named": x.keywords}
        return ["partial", _coded(parts, place, inside)]
    if isinstance(x, types.FunctionType):
        bound = {
            "defaults": x.__defaults__,
            "named": x.__kwdefaults__,
            "closed over": [_content(cell) for cell in x.__closure__ or ()],
        }
        name = [x.__module__, x.__qualname__]
        return ["function", *name, _code(x.__code__), _coded(bound, f"{place}: ", inside)]
    if isinstance(x, (type, types.BuiltinFunctionType)):
        return ["name", x.__module__, x.__qualname__]
    for wrapped in ("__wrapped__", "py_func"):  # functools.cache; numba
        if callable(getattr(x, wrapped, None)):
            return [wrapped, type(x).__qualname__, _coded(getattr(x, wrapped), place, inside)]
    return None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _code(code: types.CodeType) -> str:
    """A hash of what a function does; where its text stands does not count."""
    parts = [
        code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars,
        code.co_exceptiontable.hex(), *map(_constant, code.co_consts),
    ]  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _constant(x: Any) -> str:
    if isinstance(x, types.CodeType):
        return _code(x)
    if isinstance(x, frozenset):  # its order is another one in every process
        return repr(sorted(map(_constant, x)))
    if isinstance(x, tuple):
        return repr([_constant(v) for v in x])
    return repr(x)
