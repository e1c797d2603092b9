"""Figures on trained models: what their heads need, counted with proof."""
