"""Heads of a model replaced by recurrences, while it runs.

context      `replace`: the model with its heads replaced
choice       which heads, and by how many states
recurrences  the recurrence of a head, and its values streamed through it
plan         how many states each head is given of a total (`curves`: error against states)
replaced     what was replaced, with proved errors
losses       the loss of a language model as a function of the states
"""

from dsf.models.replacement.context import replace
from dsf.models.replacement.losses import Loss, Losses, losses, next_token_loss
from dsf.models.replacement.plan import Plan, Share, plan
from dsf.models.replacement.replaced import Replaced

__all__ = [
    "Loss",
    "Losses",
    "Plan",
    "Replaced",
    "Share",
    "losses",
    "next_token_loss",
    "plan",
    "replace",
]
