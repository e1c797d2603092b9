"""dsf: a dynamical-systems laboratory for sequence mixers.

    h_i = A_i h_{i-1} + B_i u_i ,   y_i = C_i h_i + D_i u_i

Attention, linear attention, state-space models and RNNs in one linear time-varying recurrence, and
certificates instead of opinions about what they have in common.  Everything but numpy is imported
on first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# public name -> module that defines it
_LAZY = {
    **dict.fromkeys(("LTV", "Element"), "dsf.system"),
    **dict.fromkeys(("Diag", "LowRank", "Dense", "Shift", "Prod"), "dsf.transition"),
    **dict.fromkeys(("Mechanism", "Facts", "State"), "dsf.mechanism"),
    "Tokens": "dsf.tokens",
    **dict.fromkeys(("Family", "family", "register"), "dsf.family"),
    **dict.fromkeys(("Certificate", "Scope", "Strength"), "dsf.certificate"),
    **dict.fromkeys(("realize", "states_needed", "Realization"), "dsf.realization"),
    **dict.fromkeys(("minimal_realization", "minimal_dims"), "dsf.realization"),
    **dict.fromkeys(("hankel_lower", "hankel_gap"), "dsf.realization"),
    **dict.fromkeys(("compare", "Comparison", "Verdict"), "dsf.compare"),
    **dict.fromkeys(("Nesting", "NESTINGS"), "dsf.nesting"),
    **dict.fromkeys(
        ("Separation", "SEPARATIONS", "separate", "separate_instances"), "dsf.separations"
    ),
    **dict.fromkeys(("AnyRecurrence", "recurrence"), "dsf.opponents"),
    **dict.fromkeys(("stability", "Stability"), "dsf.stability"),
    **dict.fromkeys(("symbols", "balls"), "dsf.worlds"),
    **dict.fromkeys(("linearise", "inspect"), "dsf.linearise"),
    "atlas": "dsf.atlas",
    "cite": "dsf.cite",
    "style": "dsf.style",
    "errors": "dsf.errors",
    "interop": "dsf.interop",
    "ops": "dsf.ops",
    "solvers": "dsf.solvers",
    "DSFError": "dsf.errors",
    **dict.fromkeys(
        (
            "softmax", "window_softmax", "linear_attn", "normalised_linear_attn",
            "normalised_attn", "retnet", "s4d", "lru", "mamba", "mamba2", "gla", "deltanet",
            "gated_deltanet", "deltaproduct", "rwkv6", "mlstm", "mamba3", "qlstm", "rglru", "gru",
        ),
        "dsf.mechanisms",
    ),
}  # fmt: skip

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dsf' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    value = (
        module
        if _LAZY[name] == f"dsf.{name}" and not hasattr(module, name)
        else getattr(module, name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


class _Package(ModuleType):
    """`dsf.compare` is the function, also after `from dsf.compare import Verdict`, where Python
    would put the module of that name in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LAZY and isinstance(value, ModuleType):
            value = getattr(value, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
