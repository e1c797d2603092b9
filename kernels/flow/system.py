"""The right-hand side of a flow: expressions of sympy, and the Python functions made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from dsf.core.errors import DomainError, KernelError


def checked(
    rhs: Mapping[Any, Any], parameters: Mapping[Any, Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """(variables, parameters, expressions) as symbols and expressions of sympy.

    Raises DomainError for what is no symbol, and where a symbol is neither variable nor parameter.
    """
    import sympy
    from sympy.core.function import AppliedUndef

    if not isinstance(rhs, Mapping) or not rhs:
        raise DomainError(
            "gradient_flow: rhs must map each variable to its derivative, "
            "{x: -loss.diff(x), y: -loss.diff(y)}, symbols and expressions of sympy; got "
            f"{type(rhs).__name__}."
        )
    variables, given = (tuple(map(_symbol, names)) for names in (rhs, parameters))
    expressions = tuple(map(sympy.sympify, rhs.values()))
    if any(e.atoms(AppliedUndef) for e in expressions):
        raise DomainError(
            f"gradient_flow: rhs holds a function without a definition: {expressions}. Likely "
            "cause: sympy.Function('f'); write its expression."
        )
    free = set().union(*(e.free_symbols for e in expressions))
    unknown = sorted(map(str, free - {*variables, *given}))
    twice = sorted(map(str, {*variables} & {*given}))
    if unknown or twice:
        wrong = (
            f"{', '.join(unknown)} is neither a variable nor in `parameters`"
            if unknown
            else f"{', '.join(twice)} is both a variable and in `parameters`"
        )
        raise DomainError(
            f"gradient_flow: {wrong}; variables: {', '.join(map(str, variables))}; parameters: "
            f"{', '.join(map(str, given)) or 'none'}. Likely cause: a name misspelt, or a symbol "
            "made with other assumptions, which makes it another symbol of the same name."
        )
    return variables, given, expressions


def _symbol(x: Any) -> Any:
    import sympy

    if isinstance(x, sympy.Symbol):
        return x
    raise DomainError(
        f"gradient_flow: variables and parameters must be symbols of sympy; got {x!r} "
        f"({type(x).__name__}). Write x = sympy.Symbol('x') and use x as the key."
    )


@lru_cache(maxsize=64)
def function(
    variables: tuple[Any, ...], parameters: tuple[Any, ...], expressions: tuple[Any, ...],
    library: str,
) -> Callable[..., tuple[Any, ...]]:  # fmt: skip
    """f(*variables, *parameters) -> derivatives, in Python source on numpy arrays or on numbers.

    `library` is "numpy" or "math", the functions that Python knows; what expressions share is
    computed once.
    """
    import sympy

    names = sympy.symbols(f"s:{len(variables) + len(parameters)}")  # any name is allowed outside
    same = dict(zip((*variables, *parameters), names, strict=True))
    inside = tuple(e.xreplace(same) for e in expressions)
    try:
        found: Callable[..., tuple[Any, ...]] = sympy.lambdify(
            names, inside, modules=["scipy", "numpy"] if library == "numpy" else "math", cse=True
        )
    except Exception as e:  # whatever a printer of sympy stumbles over
        raise KernelError(f"gradient_flow: no code for {expressions}: {e}") from e
    return found
