"""Beside the mathematics: command line, citations, style, what is installed."""
