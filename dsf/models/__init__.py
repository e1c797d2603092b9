"""Models of the user's own: their attention heads, found by what they call.

front        `inspect`: every head of a model on its inputs and on probes
capture      the weights of every attention call of a run, one head at a time
streams      from which sequence queries and keys come
restored     the user's model and random generators as they were
mixing       the values that a call mixes, and others in their place
probes       the user's inputs, and random tokens that a head must retrieve from
head         what is measured of one head: states with proof, effective sizes, where it looks
verdict      the rule: recurrent, window, keep
inspection   the answer; printing, plots
agreement    whether its rows say what their proofs say
layers       rows of recurrences, convolutions and other layers, linearised along their run
distil       `dsf.distil`: students with few states, beside what is proved to be out of reach
library      small trained models of others, fetched by checksum
loading      models by name, for the command line
replacement  `replace`: heads as recurrences; `plan`: states spent over heads; `losses`
"""

from dsf.models.front import inspect
from dsf.models.head import Head
from dsf.models.inspection import Inspection
from dsf.models.replacement import Losses, Plan, Replaced, losses, plan, replace
from dsf.models.verdict import Verdict

__all__ = [
    "Head", "Inspection", "Losses", "Plan", "Replaced", "Verdict", "inspect", "losses", "plan",
    "replace",
]  # fmt: skip
