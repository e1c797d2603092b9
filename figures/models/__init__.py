"""Figures on models as they are used: what their heads need, and what replaces them."""
