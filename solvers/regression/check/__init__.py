"""The checkers of softmax regression: numpy and balls alone, nothing of the solvers."""
