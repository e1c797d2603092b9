"""Attention as regression at test time: a fit to the values at the earlier keys."""
