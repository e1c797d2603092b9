"""What invariants rest on: the measured properties of a family."""

from dsf.verdicts.properties import properties as traits

__all__ = ["traits"]
