"""The delta rule with at most one decay per head: what Triton has a kernel for."""
