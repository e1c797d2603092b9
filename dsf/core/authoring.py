"""Everything that a mechanism file needs, in one import; the names below are all there are.

    from dsf.core.authoring import *

    class Decay(Recurrence, name="decay"):
        '''Linear attention that forgets.   S_t = a S_{t-1} + k_t v_t',   y_t = S_t' q_t'''

        Wq: Array = weight("H d n")
        Wk: Array = weight("H d n")
        Wv: Array = weight("H d p")
        log_a: Array = fixed("H 1 1", lambda: -0.1)

        equations = "a S_{t-1} + k_t v_t'", "S_t' q_t"
        spec = {"q": "L n", "k": "L n", "v": "L p", "log_a": "1 1 < 0"}
        facts = Facts("scalar", state="H*n*p", flops="5*H*n*p", source="sun2023",
                      eigenvalues="(0, 1)")

        def tokens(self, u):
            q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
            return Tokens(q=q, k=k, v=v, log_a=self.log_a)

        def recurrence(self, tok):
            return LTV(Diag(log_a=tok.log_a), B=col(tok.k), C=row(tok.q)), row(tok.v)

The equations use `ops`, + - * / @, indexing and integer powers: no numpy and no float literal, so
that the same text runs on numpy, torch, sympy and Arb balls.  `dsf.testing.check_mechanism` checks
all that the class claims.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import (
    drawn,
    fixed,
    normal,
    ones,
    option,
    step_size,
    uniform,
    weight,
    zeros,
)
from dsf.core.errors import DomainError
from dsf.core.facts import Facts
from dsf.core.kinds import Attention, DotProductAttention, Recurrence, Step
from dsf.core.ops import Array, as_pairs, channels, col, project, rotate, row, split_heads
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Dense, Diag, Erase, LowRank, Prod

__all__ = [
    "LTV", "Any", "Array", "Attention", "Dense", "Diag", "DomainError", "DotProductAttention",
    "Erase", "Facts", "LowRank", "Prod", "Recurrence", "Step", "Tokens", "as_pairs", "channels",
    "col", "drawn", "fixed", "normal", "np", "ones", "ops", "option", "project", "replace",
    "rotate", "row", "split_heads", "step_size", "uniform", "weight", "zeros",
]  # fmt: skip
