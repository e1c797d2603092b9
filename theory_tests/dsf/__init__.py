"""Theorems about mechanisms and their recurrences."""
