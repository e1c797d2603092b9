"""Figures on random features of the softmax kernel, and on attention with frozen heads."""
