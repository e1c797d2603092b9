"""Figures on trained models of others."""
