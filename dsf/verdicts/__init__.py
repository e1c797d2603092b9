"""How claims are found: compare, the atlas, the lattice, separations."""
