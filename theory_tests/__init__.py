"""Theorems, one file each, in folders by subject: dsf, svm, training.

A theorem is a module `theory_tests/<subject>/<claim>.py` that defines

    statement       the claim, in a sentence or two                            (literal string)
    reference       who proved it, and where                                   (literal string)
    falsified_by    what one would have to observe for the claim to be wrong   (literal string)
    claim(**parameters)   computes it; every parameter has a default

and `test_*` functions that call `claim` over its parameters.  `claim` returns a `Certificate`, or a
tuple (computed, theory, tolerance) of numbers or arrays, which holds if the largest absolute
difference is at most the tolerance, or a list of such outcomes, of which all have to hold.

`dsf theorem` lists them, `dsf theorem NAME parameter=value ...` runs one and prints the report.
A file without `statement` is no theorem and is not listed.
"""

from dsf.theory_tests.protocol import Judgement, Theorem, judge, theorems

__all__ = ["Judgement", "Theorem", "judge", "theorems"]
