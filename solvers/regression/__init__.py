"""Softmax regression: min over x of |softmax(A x) - b|^2 / 2 + |diag(w) A x|^2 / 2.

formulas    value, gradient, Hessian, and what is proved of its curvature
softmax     Newton's method, and what its answer is worth
in_context  attention, trained on tasks, against gradient steps
check       the checkers of its certificates, in ball arithmetic
"""
