"""Delta rules: what is stored under a key is replaced."""
