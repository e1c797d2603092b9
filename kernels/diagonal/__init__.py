"""The diagonal scan: one number of state for each channel."""
