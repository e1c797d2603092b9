"""Figures on softmax regression."""
