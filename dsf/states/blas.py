"""The number of BLAS threads."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


def one_thread() -> AbstractContextManager:
    """BLAS on one thread: thousands of small products wait longer than they compute on several."""
    return _libraries().limit(limits=1)


@cache
def _libraries() -> Any:
    """The BLAS libraries of numpy and scipy; to look for them takes as long as a small count."""
    import scipy.linalg  # noqa: F401  which loads its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
