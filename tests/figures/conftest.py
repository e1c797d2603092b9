"""The modules of the figures and their tables in the smoke profile, computed once per run."""

from __future__ import annotations

import importlib
from functools import cache

import pytest

from dsf.figures import Table


def _figure(name: str):
    return importlib.import_module(f"dsf.figures.{name.replace('/', '.')}")


@cache
def _table(name: str) -> Table:
    return Table.from_csv(Table(_figure(name).compute("smoke")).to_csv())


@pytest.fixture(scope="session")
def figure():
    """figure("dsf/gauge"): its module."""
    return _figure


@pytest.fixture(scope="session")
def table():
    """table("dsf/gauge"): its table in the smoke profile, on its way through CSV as the runner
    reads it."""
    return _table
