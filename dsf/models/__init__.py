"""Models of the user's own: their attention heads, found by what they call.

capture    the weights of every attention call of a run, one head at a time
rows       `heads`: a row for each head, states needed with certificates, what it looks at
"""

from dsf.models.rows import Head, Heads, heads

__all__ = ["Head", "Heads", "heads"]
