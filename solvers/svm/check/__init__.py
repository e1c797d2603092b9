"""The checkers of margin claims: numpy and balls alone, nothing of the solvers."""
