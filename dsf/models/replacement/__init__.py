"""Heads of a model replaced by recurrences, while it runs.

context      `replace`: the model with its heads replaced
choice       which heads, and by how many states
recurrences  the recurrence of a head, and its values streamed through it
replaced     what was replaced, with proved errors
losses       the loss of a language model as a function of the states
"""

from dsf.models.replacement.context import replace
from dsf.models.replacement.losses import Loss, Losses, losses, next_token_loss
from dsf.models.replacement.replaced import Replaced

__all__ = ["Loss", "Losses", "Replaced", "losses", "next_token_loss", "replace"]
