"""What a mechanism claims about itself, and the formulas that the claims are written in."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsf.core.errors import UnknownNameError

EXACT = 1e-12  # what rounding may add to an identity between numbers of size 1

# regions of the complex plane that a set of eigenvalues may be claimed to lie in
REGIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "any": lambda z: np.ones(z.shape, dtype=bool),
    "0": lambda z: z == 0,
    "1": lambda z: z == 1,
    "(0, 1)": lambda z: (z.imag == 0) & (z.real > 0) & (z.real < 1),
    "(0, 1]": lambda z: _is_real(z) & (z.real > 0) & (z.real < 1 + EXACT),
    "(-1, 1)": lambda z: _is_real(z) & (abs(z.real) < 1),
    "(-1, 1]": lambda z: _is_real(z) & (z.real > -1) & (z.real < 1 + EXACT),
    "disc": lambda z: abs(z) < 1,
    "closed disc": lambda z: abs(z) < 1 + EXACT,
}


def _is_real(z: np.ndarray) -> np.ndarray:
    return np.abs(z.imag) < EXACT


STRUCTURES = ("scalar", "diagonal", "low rank", "dense", "shift", "nonlinear")


@dataclass(frozen=True)
class Facts:
    """Claims about a mechanism; the contract suite checks each of them by sampling.

    structure   of the transition: scalar, diagonal, low rank, dense, shift, nonlinear
    contraction |A_t|_2 <= 1 for all tokens in their domains
    normalised  constant values give that constant as output
    order_aware the output depends on the order of the earlier tokens
    state       real numbers kept per sequence, a formula in H, d, n, p, L ("H*n*p")
    flops       multiplications and additions per token of the recurrence, its coefficients given;
                a multiply-add counts 2; terms of the size of the state or larger; same letters
    source      bibliography key of the paper, with the equation where known
    eigenvalues of A_t for all tokens in their domains: a name in `REGIONS`

    >>> import dsf
    >>> dsf.gla.facts.structure, dsf.gla.facts.state
    ('diagonal', 'H*n*p')
    """

    structure: str
    contraction: bool = True
    state: str = ""
    flops: str = ""
    source: str = ""
    normalised: bool = False
    order_aware: bool = True
    causal: bool = True
    eigenvalues: str = "any"

    def __post_init__(self) -> None:
        for name, known in (("structure", STRUCTURES), ("eigenvalues", tuple(REGIONS))):
            if getattr(self, name) not in known:
                raise UnknownNameError(
                    f"Facts: {name} must be one of {known}; got {getattr(self, name)!r}"
                )


def count(formula: str, sizes: Mapping[str, int]) -> int:
    """The value of a formula of `Facts` at given sizes: letters, integers, + - * and brackets.

    >>> count("H*n*(p+1)", {"H": 2, "n": 3, "p": 4})
    30
    """
    signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}

    def value(node: ast.AST) -> int:
        if isinstance(node, ast.BinOp) and type(node.op) in signs:
            return signs[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name) and node.id in sizes:
            return sizes[node.id]
        raise wrong

    wrong = UnknownNameError(
        f"count: {formula!r} may hold integers, + - * and the letters {', '.join(sizes)}"
    )
    try:
        parsed = ast.parse(formula, mode="eval")
    except SyntaxError:
        raise wrong from None
    return value(parsed.body)
