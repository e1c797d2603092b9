"""Convex problems of attention, each answered with a certificate, and how attention trains.

    from dsf.solvers import attention_svm
    s = attention_svm(X, z, optimal)        # s.feasible, s.W, s.margin, s.certificate, s.check()

    svm         the problems, their solvers and certificates; what is named here
    dynamics    training: descent, flows, small models
    heads       interventions on heads, metrics, heads taken apart
    icl         linear regression in context: exact risks, best parameters, softmax heads
    local_linear    local linear attention, Parallax, ridge regression token by token
    random_features   kernel features of softmax, frozen heads, ridge regression
    regression  softmax regression: Newton's method with a certificate

Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public name -> module of this package that defines it
_LAZY = {
    **dict.fromkeys(("attention_svm", "causal_svm"), "svm.attention"),
    **dict.fromkeys(("optimal_tokens", "separability"), "svm.attention"),
    **dict.fromkeys(("MarginProblem", "attention_problem"), "svm.problem"),
    **dict.fromkeys(("MarginSolution", "Attempt"), "svm.solution"),
    **dict.fromkeys(("prompt_svm", "classifier_svm", "joint_prompt_svm"), "svm.prompt"),
    **dict.fromkeys(("gen_svm", "GenSVM"), "svm.several_tokens"),
    **dict.fromkeys(("graph_svm", "graph_finite", "priority_graph"), "svm.next_token"),
    **dict.fromkeys(("least_norm", "LeastNorm"), "svm.equalities"),
    **dict.fromkeys(("local_optimality", "enumerate_selections"), "svm.selections"),
    **dict.fromkeys(("icl_risk", "ICLRisk"), "icl.risk"),
    **dict.fromkeys(("icl_optimal", "ICLOptimum"), "icl.optimal"),
    **dict.fromkeys(("random_directions", "softmax_kernel_features"), "random_features.directions"),
    **dict.fromkeys(("softmax_kernel_mse", "optimal_favor_parameter"), "random_features.variance"),
    "random_feature_attention": "random_features.kernel_attention",
    **dict.fromkeys(
        ("randomised_attention", "importance_attention", "eva_attention"),
        "random_features.importance",
    ),
    **dict.fromkeys(("RandomFeatureHeads", "RandomFeatureMLP"), "random_features.model"),
    **dict.fromkeys(("ridge_regression", "ridge_path"), "random_features.ridge"),
    "ridge_regression_in_blocks": "random_features.blocks",
    "fitted_rate": "random_features.rates",
    **dict.fromkeys(("softmax_regression", "SoftmaxRegression"), "regression.softmax"),
    **dict.fromkeys(("local_linear_attention", "parallax"), "local_linear.attention"),
    "local_linear_attention_cg": "local_linear.conjugate_gradients",
    "ridge_recurrence": "local_linear.recurrence",
}

_FOLDERS = ("dynamics", "heads", "icl", "local_linear", "random_features", "regression", "svm")

__all__ = sorted({*_LAZY, *_FOLDERS})


def __getattr__(name: str) -> Any:
    if name in _FOLDERS:
        return import_module(f"dsf.solvers.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'dsf.solvers' has no attribute {name!r}")
    value = getattr(import_module(f"dsf.solvers.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
