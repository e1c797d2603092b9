"""Attention: every token weighs all earlier ones."""
