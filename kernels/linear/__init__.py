"""Linear attention: a matrix state with a diagonal decay."""
