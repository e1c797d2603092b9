"""Softmax attention over the whole past, streamed."""
