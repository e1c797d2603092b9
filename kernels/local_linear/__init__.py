"""Local linear attention over the whole past, streamed."""
