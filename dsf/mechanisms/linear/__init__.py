"""Linear attention and its gated forms: outer products in, diagonal decay."""
