"""What a mechanism is: arrays, tokens, the recurrence, families, certificates."""
