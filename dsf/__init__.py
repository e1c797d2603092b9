"""dsf: a dynamical-systems laboratory for sequence mixers.

    h_i = A_i h_{i-1} + B_i u_i ,   y_i = C_i h_i + D_i u_i

Attention, linear attention, state-space models and RNNs in one linear time-varying recurrence, and
certificates instead of opinions about what they have in common.  Everything but numpy is imported
on first use.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from dsf.core import hooks

__version__ = "0.1.0"

# public name -> module that defines it; a module itself where it holds no object of that name
_LAZY = {
    "LTV": "dsf.core.system",
    **dict.fromkeys(("Diag", "LowRank", "Erase", "Dense", "Shift"), "dsf.core.transition"),
    "Mechanism": "dsf.core.mechanism",
    "State": "dsf.core.state",
    "Tokens": "dsf.core.tokens",
    "simulate": "dsf.core.parts",
    "Stream": "dsf.core.streaming",
    "sweep": "dsf.tools.sweeps",
    "Family": "dsf.core.family",
    "family": "dsf.core.catalogue",
    **dict.fromkeys(("Certificate", "Scope", "Strength"), "dsf.core.certificate"),
    **dict.fromkeys(("symbols", "balls"), "dsf.core.worlds"),
    "recurrence": "dsf.core.opponents",
    **dict.fromkeys(("linearise", "jacobian"), "dsf.jacobians.linearise"),
    **dict.fromkeys(("inspect", "replace"), "dsf.models"),
    **dict.fromkeys(("realize", "states_needed", "Realization"), "dsf.states"),
    **dict.fromkeys(("stability", "Stability"), "dsf.spectra.stability"),
    "compare": "dsf.verdicts.compare",
    "Comparison": "dsf.verdicts.comparison",
    "Verdict": "dsf.verdicts.finding",
    "Nesting": "dsf.relations.edge",
    "atlas": "dsf.verdicts.atlas",
    "papers": "dsf.verdicts.papers",
    "cite": "dsf.tools.cite",
    "style": "dsf.tools.style",
    "authoring": "dsf.core.authoring",
    "errors": "dsf.core.errors",
    "distributed": "dsf.interop.distributed",
    "interop": "dsf.interop",
    "kernels": "dsf.kernels",
    "lattice": "dsf.verdicts.lattice",
    "models": "dsf.models",
    "distil": "dsf.models.distil",
    "ops": "dsf.core.ops",
    "separations": "dsf.verdicts.separations",
    "solvers": "dsf.solvers",
    "states": "dsf.states",
    "testing": "dsf.testing",
}

__all__ = sorted(_LAZY)  # and the families, by their names

# modules that define kinds of claims
_CLAIMS = (
    *(
        f"dsf.claims.{name}"
        for name in (
            "same", "stability", "hankel", "frobenius", "realization", "nesting", "conditions",
            "separation_words", "separation_rank", "separation_tails", "separation_response",
            "separation_instances", "separation_recall", "image", "distance",
            "coordinates", "scores", "separation_states",
        )
    ),
    "dsf.solvers.regression.check.optimum",
    "dsf.solvers.svm.check.margin",
    "dsf.solvers.svm.check.selection",
)  # fmt: skip

# What lower rooms ask of higher ones: here, because the front door stands above all of them.
hooks.load_mechanisms = lambda: import_module("dsf.mechanisms")
hooks.torch_module = lambda mech: import_module("dsf.interop.module").Module(mech)
hooks.torch_layer = lambda *drawn: import_module("dsf.interop.module").layer(*drawn)
hooks.load_torch_kernels = lambda: import_module("dsf.kernels.differentiable")
hooks.torch_kernel = lambda *call: hooks.load_torch_kernels().run(*call)
hooks.kernel = lambda *call: import_module("dsf.kernels.dispatch").compiled_run(*call)
hooks.check = lambda certificate: import_module("dsf.claims").check(certificate)
hooks.from_json = lambda text: import_module("dsf.claims").from_json(text)
hooks.load_claims = lambda: [import_module(name) for name in _CLAIMS]
hooks.prove = lambda nesting: import_module("dsf.verdicts.lattice.prover").prove(nesting)
hooks.certify = lambda nesting, scope: import_module("dsf.verdicts.lattice.prover").certificate(
    nesting, scope
)
hooks.theorems = lambda: import_module("dsf.theory_tests").theorems()
hooks.judge = lambda outcome: import_module("dsf.theory_tests").judge(outcome)
hooks.figures = lambda: import_module("dsf.figures.runner.catalogue").catalogue("dsf.figures")
hooks.kept_findings = lambda figure: import_module("dsf.figures.runner.kept").findings(figure)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module = import_module(_LAZY[name])
        value = getattr(module, name, module)  # without an object of this name: the module itself
    elif name.startswith("_") or name not in (known := _families()):
        raise AttributeError(f"module 'dsf' has no attribute {name!r}{_near(name)}")
    else:
        value = known[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_LAZY, *_families(), "__version__"})


def _near(name: str) -> str:
    """What may have been meant: mechanisms are families here, in lower case."""
    if name.startswith("_"):
        return ""
    near = get_close_matches(name.lower(), _LAZY, 2, 0.8)
    near += import_module("dsf.core.catalogue").near_names(name, 0.8)
    return f". Did you mean dsf.{' or dsf.'.join(near)}?" if near else ""


def _families() -> dict[str, Any]:
    found: dict[str, Any] = import_module("dsf.core.catalogue").families()
    return found
