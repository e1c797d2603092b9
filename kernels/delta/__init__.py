"""The delta rule with one decay per head or, except in Triton, one per channel."""
