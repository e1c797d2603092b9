"""Figures on local linear attention."""
