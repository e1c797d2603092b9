"""Theorems about attention as a max-margin problem."""
