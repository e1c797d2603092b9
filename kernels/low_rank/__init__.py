"""A matrix state with a diagonal plus rank-one transition: the delta rules."""
