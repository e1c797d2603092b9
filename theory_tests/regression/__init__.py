"""Softmax regression: its curvature, its Lipschitz bounds, attention as a gradient step."""
