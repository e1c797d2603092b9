"""dsf: a dynamical-systems laboratory for sequence mixers.

    h_i = A_i h_{i-1} + B_i u_i ,   y_i = C_i h_i + D_i u_i

Attention, linear attention, state-space models and RNNs in one linear time-varying recurrence, and
certificates instead of opinions about what they have in common.  Everything but numpy is imported
on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dsf.core import hooks as _hooks

__version__ = "0.1.0"

# public name -> module that defines it
_LAZY = {
    **dict.fromkeys(("LTV", "Element"), "dsf.core.system"),
    **dict.fromkeys(("Diag", "LowRank", "Dense", "Shift", "Prod"), "dsf.core.transition"),
    **dict.fromkeys(("Mechanism", "Facts", "State"), "dsf.core.mechanism"),
    "Tokens": "dsf.core.tokens",
    **dict.fromkeys(("Family", "family", "register"), "dsf.core.family"),
    **dict.fromkeys(("Certificate", "Scope", "Strength"), "dsf.core.certificate"),
    **dict.fromkeys(("realize", "states_needed", "Realization"), "dsf.states"),
    **dict.fromkeys(("minimal_realization", "minimal_dims"), "dsf.states"),
    **dict.fromkeys(("hankel_lower", "hankel_gap"), "dsf.states"),
    **dict.fromkeys(("compare", "Comparison", "Verdict"), "dsf.verdicts.compare"),
    **dict.fromkeys(("Nesting", "NESTINGS"), "dsf.verdicts.lattice.paths"),
    **dict.fromkeys(
        ("Separation", "SEPARATIONS", "separate", "separate_instances"), "dsf.verdicts.separations"
    ),
    **dict.fromkeys(("AnyRecurrence", "recurrence"), "dsf.core.opponents"),
    **dict.fromkeys(("stability", "Stability"), "dsf.spectra.stability"),
    **dict.fromkeys(("symbols", "balls"), "dsf.core.worlds"),
    **dict.fromkeys(("linearise", "inspect"), "dsf.jacobians.linearise"),
    "atlas": "dsf.verdicts.atlas",
    "cite": "dsf.tools.cite",
    "style": "dsf.tools.style",
    "errors": "dsf.core.errors",
    "interop": "dsf.interop",
    "lattice": "dsf.verdicts.lattice",
    "ops": "dsf.core.ops",
    "solvers": "dsf.solvers",
    "DSFError": "dsf.core.errors",
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

# modules that define kinds of claims
_CLAIMS = (
    *(
        f"dsf.claims.{name}"
        for name in (
            "same", "stability", "hankel", "realization", "nesting", "conditions",
            "separation_words", "separation_rank", "separation_tails", "separation_response",
            "separation_instances", "separation_recall",
        )
    ),
    "dsf.solvers.svm.check.margin",
    "dsf.solvers.svm.check.selection",
)  # fmt: skip

# What lower rooms ask of higher ones: here, because the front door stands above all of them.
_hooks.check = lambda certificate: import_module("dsf.claims").check(certificate)
_hooks.from_json = lambda text: import_module("dsf.claims").from_json(text)
_hooks.load_claims = lambda: [import_module(name) for name in _CLAIMS]
_hooks.prove = lambda nesting: import_module("dsf.verdicts.lattice.prover").prove(nesting)
_hooks.certify = lambda nesting, scope: import_module("dsf.verdicts.lattice.prover").certificate(
    nesting, scope
)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dsf' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    value = getattr(module, name, module)  # a name without an object in it is the module itself
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
