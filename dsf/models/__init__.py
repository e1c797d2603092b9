"""Models of the user's own: their attention heads, found by what they call.

capture    the weights of every attention call of a run, one head at a time
mixing     the values that a call mixes, and others in their place
rows       `heads`: a row for each head, states needed with certificates, what it looks at
replacement  `replace`: heads as recurrences; `plan`: states spent over heads; `losses`
"""

from dsf.models.replacement import Losses, Plan, Replaced, losses, plan, replace
from dsf.models.rows import Head, Heads, heads

__all__ = ["Head", "Heads", "Losses", "Plan", "Replaced", "heads", "losses", "plan", "replace"]
