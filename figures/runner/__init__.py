"""The runner: builds figures, keeps results, writes the gallery."""
