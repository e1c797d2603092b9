"""A second judgement: whether the sentence of a certificate is true, by other means than its check.

`verdict(c)` is True, False, or None where these means do not decide.
"""

from __future__ import annotations

import judge_families
import judge_margins
import judge_numbers
import judge_regression

from dsf.claims.base import read
from dsf.core.certificate import Certificate

JUDGES = {
    **judge_numbers.JUDGES,
    **judge_margins.JUDGES,
    **judge_families.JUDGES,
    **judge_regression.JUDGES,
}


def verdict(c: Certificate) -> bool | None:
    """Whether what is printed is true."""
    return JUDGES[c.kind](read(c))
