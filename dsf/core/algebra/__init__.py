"""Exact identities: free symbols, a zero test, signs on domains; for finders and checkers alike."""
