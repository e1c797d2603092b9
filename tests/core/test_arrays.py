"""The one promotion rule and the one intake: numpy and torch say the same."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch

import dsf
from dsf.core import ops
from dsf.core.arrays import common_dtype, common_zero, intake, promoted
from dsf.core.errors import DTypeError
from dsf.core.system import LTV
from dsf.core.transition import Diag

CORE = Path(dsf.__file__).parent / "core"
RULE = [
    (("float64", "float32"), "float64"),
    (("float32", "float32"), "float32"),
    (("float16",), "float32"),
    (("float16", "float64"), "float64"),
    (("int64",), "float64"),
    (("int32", "uint8"), "float64"),
    (("complex64", "float32"), "complex64"),
    (("complex64", "float64"), "complex128"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("kinds, want", RULE)
def test_both_libraries_widen_alike(kinds, want):
    assert common_dtype(*[np.zeros(1, k) for k in kinds]) == np.dtype(want)
    assert common_dtype(*[torch.zeros(1, dtype=getattr(torch, k)) for k in kinds]) == getattr(
        torch, want
    )


def test_bfloat16_counts_as_half_precision():
    half = torch.zeros(1, dtype=torch.bfloat16)
    assert common_dtype(half) == torch.float32
    assert common_dtype(half, half.half()) == torch.float32
    assert common_dtype(half, half.double()) == torch.float64


def test_objects_stay_objects():
    x = dsf.symbols(np.zeros(2), "x")
    assert common_dtype(x, np.ones(2)).kind == "O"
    assert common_zero(np.ones(2), x)[()] == sympy.Integer(0)
    ones = np.ones(2, dtype=int)
    assert promoted(ones, x) is ones  # exact beside symbols
    assert promoted(ones, np.zeros(())).dtype == np.float64


def test_integer_systems_compute_in_float64_in_both_worlds():
    one = np.ones((1, 1, 1), dtype=int)
    ltv = LTV(Diag(a=2 * one[0]), one, one, steps=3)
    X = np.arange(3).reshape(3, 1, 1)
    want = ltv.scan(X)[0]
    found = ltv.map(torch.as_tensor).scan(torch.as_tensor(X))[0]
    assert want.dtype == np.float64 and found.dtype == torch.float64
    assert np.array_equal(found, want) and want.ravel().tolist() == [0, 1, 4]


def test_intake():
    swapped = np.arange(6.0).reshape(2, 3).astype(">f8").T
    taken = intake("x", swapped)
    assert taken.dtype == np.float64 and taken.dtype.isnative and taken.flags.c_contiguous
    assert np.array_equal(taken, swapped)
    assert intake("x", [[1, 2]]).dtype == np.float64
    assert intake("x", np.ones((1, 1), np.longdouble)).dtype == np.longdouble
    assert intake("x", torch.ones(2, 2, dtype=torch.int32)).dtype == torch.float64
    assert intake("x", torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16
    for bad in (torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1) * 1j, None, "text", [[1j]]):
        with pytest.raises(DTypeError, match="someone"):
            intake("someone", bad)


def test_cat_widens_over_all_parts():
    parts = [torch.ones(1), torch.ones(1, dtype=torch.float64) / 3, torch.ones(1)]
    joined = ops.cat(parts)
    assert joined.dtype == torch.float64 and float(joined[1]) == 1 / 3


@pytest.mark.parametrize("word", ["promote_types", "result_type"])
def test_dtypes_are_widened_in_one_file(word):
    """Another place that widens would be a second rule."""
    users = {
        p.relative_to(CORE.parent).as_posix()
        for p in CORE.parent.rglob("*.py")
        for node in ast.walk(ast.parse(p.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == word
    }
    assert users == {"core/arrays.py"}
