"""Values on the command line: what a text may stand for, and whether a claim can take it."""

from __future__ import annotations

import argparse
import ast
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dsf.core.errors import DomainError, DSFError, DTypeError

# the type of a default -> what is taken in its place, and its name
KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a word"),
    tuple: ((tuple, list), "a list like (1, 2)"),
    list: ((tuple, list), "a list like (1, 2)"),
}


def size(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0)


def number(text: str) -> float:
    """A number; its range is checked by what takes it."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; got {_short(text)}") from None


def assignment(text: str) -> tuple[str, Any]:
    """The name and the value of parameter=value; a value that is no Python literal is a word.

    >>> assignment("n=3"), assignment("gamma=abc"), assignment("sizes=(1, 2)")
    (('n', 3), ('gamma', 'abc'), ('sizes', (1, 2)))
    """
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals and value):
        raise argparse.ArgumentTypeError(f"must be parameter=value; got {_short(text)}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return name, value


def fitting(
    claim: str, given: Iterable[tuple[str, Any]], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The values given, each of the kind of its default; DTypeError or DomainError otherwise.

    >>> fitting("parity", [("L", 3)], {"L": 8})
    {'L': 3}
    """
    values: dict[str, Any] = {}
    for name, value in given:
        if name in values:
            raise DomainError(f"theorem {claim}: {name} is given twice")
        values[name], default = value, defaults[name]
        kinds, wanted = KINDS.get(type(default), ((), ""))
        if kinds and (not isinstance(value, kinds) or isinstance(value, bool) > (bool in kinds)):
            raise DTypeError(
                f"theorem {claim}: {name} is {wanted}, by default {default!r}; got {_short(value)}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise DomainError(f"theorem {claim}: {name} must be finite; got {value!r}")
    return values


def called(
    claim: str, f: Callable[..., Any], given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Any:
    """f with the values given; DomainError where it stumbles over them (and not over its own)."""
    try:
        return f(**given)
    except DSFError:
        raise
    except Exception as e:
        if not given or isinstance(e, ImportError):
            raise
        shown = ", ".join(f"{k}={_short(v)}" for k, v in given.items())
        usual = ", ".join(f"{k}={defaults[k]!r}" for k in given)
        raise DomainError(
            f"theorem {claim}: the claim cannot be computed with {shown} "
            f"({type(e).__name__}: {_short(e, quoted=False)}). Likely cause: a value that it is "
            f"not made for; the default is {usual}."
        ) from e


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; got {_short(text)}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}; got {_short(value)}")
    return value


def _short(x: Any, quoted: bool = True) -> str:
    try:
        text = repr(x) if quoted else str(x)
    except ValueError:  # an integer of more digits than Python prints
        return "a very long number"
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."
