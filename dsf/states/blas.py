"""The number of BLAS threads."""

from __future__ import annotations

from contextlib import AbstractContextManager


def one_thread() -> AbstractContextManager:
    """BLAS on one thread: thousands of small products wait longer than they compute on several."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
