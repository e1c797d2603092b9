"""theory_tests."""
