"""How a theorem file is listed, run and judged."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError, ShapeError
from dsf.tools.literals import literals

LITERALS = ("statement", "reference", "falsified_by")


@dataclass(frozen=True)
class Theorem:
    """A theorem file: what it states, and how to run it."""

    name: str
    statement: str
    reference: str
    falsified_by: str

    def claim(self) -> Callable[..., Any]:
        """The function that computes the claim; importing it may be slow."""
        return importlib.import_module(f"dsf.theory_tests.{self.name.replace('/', '.')}").claim

    def parameters(self) -> dict[str, Any]:
        """Names and defaults of the parameters of the claim."""
        signature = inspect.signature(self.claim())
        return {name: p.default for name, p in signature.parameters.items()}


def theorems() -> list[Theorem]:
    """All theorems, by name, read from their sources without running them."""
    found = []
    for file in sorted(Path(__file__).parent.glob("*/[!_]*.py")):
        texts = literals(file, LITERALS)
        if "statement" in texts:
            name = f"{file.parent.name}/{file.stem}"
            found.append(Theorem(name, *(texts.get(key) or "" for key in LITERALS)))
    return found


@dataclass(frozen=True)
class Judgement:
    """Whether an outcome of a claim holds, and the lines that show it."""

    holds: bool
    lines: tuple[str, ...]


def judge(outcome: Any) -> Judgement:
    """Check what a claim returned: recompute a certificate, compare numbers with the theory.

    >>> judge((0.5 + 1e-17, 0.5, 1e-15)).holds
    True
    >>> judge([(1.0, 1.0, 0.0), (float("nan"), 0.0, 1.0)]).holds
    False

    Raises ShapeError if computed and theory have different shapes, TypeError for anything that is
    no outcome.
    """
    if isinstance(outcome, list) and outcome:
        parts = [judge(part) for part in outcome]
        return Judgement(all(p.holds for p in parts), sum((p.lines for p in parts), ()))
    if isinstance(outcome, Certificate):
        try:
            outcome.check()
        except CertificateError as e:
            return Judgement(False, (*repr(outcome).splitlines(), f"check() refuses it: {e}"))
        return Judgement(True, (*repr(outcome).splitlines(), "check() recomputed the claim"))
    if not (isinstance(outcome, tuple) and len(outcome) == 3):
        raise TypeError(
            "a claim returns a Certificate, a tuple (computed, theory, tolerance), or a list of "
            f"these; got {type(outcome).__name__}"
        )
    computed, theory = np.asarray(outcome[0]), np.asarray(outcome[1])
    if computed.shape != theory.shape:
        raise ShapeError(f"computed is {list(computed.shape)}, theory is {list(theory.shape)}")
    gap = float(np.max(np.abs(computed - theory), initial=0.0))
    lines = (
        f"computed    {_show(computed)}",
        f"theory      {_show(theory)}",
        f"difference  {gap:.3g}, allowed {outcome[2]:.3g}",
    )
    return Judgement(gap <= outcome[2], lines)


def _show(x: np.ndarray) -> str:
    if x.ndim == 0:
        return str(x)
    return f"[{' '.join(map(str, x.shape))}] in [{np.abs(x).min():.6g}, {np.abs(x).max():.6g}]"
