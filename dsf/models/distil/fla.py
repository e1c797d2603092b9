"""Students under the names of flash-linear-attention: its layers and its kernels.

    class            kernel              layer, and what that does to its projections besides
    gla              gla                 GatedLinearAttention
    linear_attn      linear_attn         LinearAttention, feature_map "identity" or "elu" (elu+1)
    deltanet         delta_rule          DeltaNet: silu on v; unit queries
    gated_deltanet   gated_delta_rule    GatedDeltaNet: silu on q, k, v; unit queries
    mamba2           simple_gla          Mamba2: a convolution and silu on x, B, C
    retnet           simple_gla          none: the decay is no parameter there, q and k are turned
    rwkv6            rwkv6               none: its projections read a mixture with the token before

Arguments of a kernel give the student's output (linear_attn: with `normalize` where rows have sum
1).  Parameters do so where nothing stands besides, with the layer made as

    LinearAttention     do_feature_map_norm where rows have sum 1, output_norm="identity"
    DeltaNet            qk_activation="identity", use_short_conv=False; allow_neg_eigval for reach 2
    GatedDeltaNet       use_short_conv=False; allow_neg_eigval for reach 2

and elsewhere they are where the training of such a layer may start.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import UnknownNameError
from dsf.core.mechanism import Mechanism
from dsf.core.tokens import Tokens
from dsf.interop import layouts

PROJECTIONS = {"Wq": "q_proj.weight", "Wk": "k_proj.weight", "Wv": "v_proj.weight"}
DELTA = PROJECTIONS | {"Wb": "b_proj.weight"}
RATE = {"b": "dt_bias", "A_log": "A_log"}
LAYERS = {
    "gla": PROJECTIONS
    | {"W1": "gk_proj.0.weight", "W2": "gk_proj.1.weight", "b": "gk_proj.1.bias"},
    "linear_attn": PROJECTIONS,
    "deltanet": DELTA,
    "gated_deltanet": DELTA | {"Wdt": "a_proj.weight"} | RATE,
    "mamba2": RATE | {"D": "D"},
}
KERNELS = ("gla", "linear_attn", "deltanet", "gated_deltanet", "mamba2", "retnet", "rwkv6")
IN_PROJ = ("Wv", "Wk", "Wq", "Wdt")  # x, B, C, dt: rows of Mamba2's in_proj after those of the gate
MAPS = ("identity", "elu+1")  # feature maps that LinearAttention has too


def parameters(mech: Mechanism) -> dict[str, np.ndarray]:
    """The parameters of an instance with one head as a layer of that library names them.

    A matrix of a linear layer is transposed.  Kernels there divide queries by sqrt(n): where ours
    do not, Wq is multiplied by it; in linear_attn Wv, or neither if rows are divided by their sum.
    Raises UnknownNameError for a class, or an option of it, that no layer there has.

    >>> import dsf
    >>> {k: x.shape for k, x in parameters(dsf.mamba2.init(d=4, n=2, p=3)).items()}
    {'dt_bias': (1,), 'A_log': (1,), 'D': (1,), 'in_proj.weight': (8, 4)}
    """
    name = mech.name
    phi, unit = getattr(mech, "phi", MAPS[0]), getattr(mech, "unit_keys", True)
    if name not in LAYERS or phi not in MAPS or not unit:
        raise UnknownNameError(
            f"to_fla: no layer of that library has the parameters of {name} with these options. "
            f"Known: {', '.join(LAYERS)}; linear_attn with phi {' or '.join(MAPS)}, delta rules "
            "with unit keys. Where its kernels take the tokens: to_fla(inputs)."
        )
    own = {k: x.reshape(x.shape[-2:]) for k, x in mech.parameters().items()}
    root = float(own["Wq"].shape[-1] ** 0.5)
    if name in ("deltanet", "gated_deltanet"):
        own["Wq"] = root * own["Wq"]
    if name == "linear_attn" and not mech.facts.normalised:
        own["Wv"] = root * own["Wv"]
    if name == "mamba2" and not getattr(mech, "skip", False):
        own["D"] = np.zeros_like(own["D"])
    named = {theirs: own[k] for k, theirs in LAYERS[name].items()}
    if name == "mamba2":
        named["in_proj.weight"] = np.concatenate([own[k] for k in IN_PROJ], 1)
    return {k: np.ascontiguousarray(x.T if k.endswith("weight") else x[0])
            for k, x in named.items()}  # fmt: skip


def arguments(name: str, tokens: Tokens) -> dict[str, Any]:
    """The arguments of the kernel for tokens [(B) H L ...] of a class, in its layout [B L H n].

    The step size of mamba2 goes into keys and decays, the constant decay of retnet to every token.
    Raises UnknownNameError for a class without a kernel, or for tokens that have no place there.

    >>> import dsf
    >>> tokens = dsf.mamba2.init(d=4, n=2, p=3).tokens(np.ones((5, 4)))
    >>> {k: np.shape(x) for k, x in arguments("mamba2", tokens).items()}
    {'q': (1, 5, 1, 2), 'k': (1, 5, 1, 2), 'v': (1, 5, 1, 3), 'g': (1, 5, 1), 'scale': ()}
    """
    if name not in KERNELS:
        raise UnknownNameError(
            f"to_fla: no kernel of that library takes the tokens of {name}; known are those of "
            f"{', '.join(KERNELS)}. Distil into one of these."
        )
    folded = {k: x for k, x in tokens.items() if k not in ("dt", "a", "gamma", "log_w", "bonus")}
    if name == "mamba2":
        folded |= {"k": tokens.dt * tokens.k, "log_a": tokens.dt * tokens.a}
    elif name == "retnet":
        folded["log_a"] = ops.log(tokens.gamma) + ops.zeros_like(tokens.q[..., :1])
    elif name == "rwkv6":
        folded["log_a"] = tokens.log_w
    named = layouts.to_fla(Tokens(**folded))
    if name == "rwkv6":
        named = {"r": named.pop("q"), "w": named.pop("g"), "u": tokens.bonus[..., 0, :], **named}
    elif name != "gla" and "g" in named and named["g"].ndim == named["q"].ndim:  # of one state
        named["g"] = named["g"][..., 0]
    return named
