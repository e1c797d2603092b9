"""Heads of a model replaced by recurrences, while it runs.

context      `replace`: the model with its heads replaced
choice       which heads, and by how many states
recurrences  the recurrence of a head, and its values streamed through it
replaced     what was replaced, with proved errors
"""

from dsf.models.replacement.context import replace
from dsf.models.replacement.replaced import Replaced

__all__ = ["Replaced", "replace"]
