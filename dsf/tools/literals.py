"""What a source file says about itself, read without running it."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any


def literals(file: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The values that a module assigns to these names at its top level.

    A value that is not a literal (an f-string, a call) is None; a file that does not parse says
    nothing: whoever imports it gets the error.
    """
    return {name: _value(node) for name, node in _assigned(file.read_bytes()) if name in names}


@lru_cache(maxsize=512)  # by what is written there: every table asks each file several times
def _assigned(source: bytes) -> list[tuple[str, ast.expr]]:
    """The names that a source assigns to at its top level, in order, each with its expression."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return []
    found = []
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                found.append((target.id, node.value))  # type: ignore[attr-defined]
    return found


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
