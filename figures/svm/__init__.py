"""Figures after Tarzanagh et al., "Transformers as Support Vector Machines" and its companion."""
