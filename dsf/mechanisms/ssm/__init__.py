"""State space models: channels with a state each."""
