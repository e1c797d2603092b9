"""Figures on how attention trains: scanning and freezing, attention sinks, temperatures."""
