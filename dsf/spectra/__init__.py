"""Stability: spectral radii and norms, enclosed."""
