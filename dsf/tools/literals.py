"""What a source file says about itself, read without running it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


def literals(file: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The values that a module assigns to these names at its top level.

    A value that is not a literal (an f-string, a call) is None; a file that does not parse says
    nothing: whoever imports it gets the error.
    """
    try:
        body = ast.parse(file.read_bytes()).body
    except SyntaxError:
        return {}
    found: dict[str, Any] = {}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in names:
                found[target.id] = _value(node.value)  # type: ignore[attr-defined]
    return found


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
