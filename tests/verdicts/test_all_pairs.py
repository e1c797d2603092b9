"""Every certificate that `compare` gives for a pair of families of the catalogue checks."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

import dsf
from dsf.core.catalogue import everything, families

NAMED = list(combinations_with_replacement(sorted(families()), 2))
PAIRS = list(combinations_with_replacement(everything(), 2))
SAMPLE = NAMED[::20]


def checks(a, b) -> None:
    found = dsf.compare(a, b)
    if found.findings:
        assert found.check()
    else:
        assert found.verdict.name == "UNKNOWN" and not found.certificates


@pytest.mark.parametrize("pair", SAMPLE, ids=str)
def test_some_pairs(pair):
    checks(*pair)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_all_pairs(pair):
    checks(*pair)
