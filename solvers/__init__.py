"""Convex problems of attention, each answered with a certificate.

    from dsf.solvers import attention_svm
    s = attention_svm(X, z, optimal)        # s.feasible, s.W, s.margin, s.certificate, s.check()

Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public name -> module of this package that defines it
_LAZY = {
    **dict.fromkeys(("attention_svm", "optimal_tokens", "separability", "causal_svm"), "attention"),
    **dict.fromkeys(("MarginProblem", "attention_problem"), "problem"),
    **dict.fromkeys(("MarginSolution", "Attempt"), "solution"),
    **dict.fromkeys(("prompt_svm", "classifier_svm", "joint_prompt_svm"), "prompt"),
    **dict.fromkeys(("gen_svm", "GenSVM"), "several_tokens"),
    **dict.fromkeys(("graph_svm", "graph_finite", "priority_graph"), "next_token"),
    **dict.fromkeys(("least_norm", "LeastNorm"), "equalities"),
    **dict.fromkeys(("local_optimality", "enumerate_selections"), "selections"),
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dsf.solvers' has no attribute {name!r}")
    value = getattr(import_module(f"dsf.solvers.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
