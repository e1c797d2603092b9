"""The place for fast array code, one kernel per structure of the recurrence; none so far."""
