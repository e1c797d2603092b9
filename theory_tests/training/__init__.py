"""Theorems about how attention trains, and about changed heads."""
