"""Figures after Sieber et al., "Understanding the Differences in Foundation Models" (2024)."""
