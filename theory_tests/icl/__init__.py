"""Linear regression in context, in closed form."""
