"""Compiles every Triton kernel without a GPU, and prints what each needs, one JSON line each.

`python tests/kernels/compile_triton.py [name ...]`: registers, bytes of stack (spills), shared
memory, for sm_80 and sm_90, in the dtypes and tiles of the tables.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dsf.kernels import triton_blocks as blocks
from dsf.kernels.delta import triton as delta
from dsf.kernels.linear import triton_backward as gradients
from dsf.kernels.linear import triton_forward as linear
from dsf.kernels.selective import triton as selective
from dsf.kernels.softmax import triton as softmax
from dsf.kernels.tiles import (
    accumulator,
    delta_tile,
    linear_tile,
    power_of_two,
    scan_tile,
    softmax_tile,
)

TYPES = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that one program can have


def cuobjdump() -> str:
    return triton.knobs.nvidia.cuobjdump.path


def resources(cubin: bytes) -> tuple[int, int]:
    """(registers of a thread, bytes of stack of a thread)."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        out = subprocess.run([cuobjdump(), "-res-usage", file.name], capture_output=True, text=True)
    found = re.findall(r"REG:(\d+) STACK:(\d+)", out.stdout + out.stderr)
    if not found:
        raise RuntimeError(f"cuobjdump printed no usage: {out.stdout}{out.stderr}")
    return max(int(r) for r, _ in found), max(int(s) for _, s in found)


def compiled(kernel: Any, arch: int, dtype: str, meta: dict[str, Any], wide: set[str]) -> dict:
    """One kernel; `wide` names the pointers to accumulators."""
    meta = dict(meta)
    options = {"num_warps": meta.pop("num_warps"), "num_stages": meta.pop("num_stages", 1)}
    options["enable_fp_fusion"] = meta.pop("enable_fp_fusion", True)
    signature: dict[str, str] = {}
    constants: dict[Any, Any] = {}
    attributes: dict[Any, Any] = {}
    for place, name in enumerate(kernel.arg_names):
        if name in meta:
            signature[name] = "constexpr"
            constants[(place,)] = meta[name]
        elif name.endswith(("_ptr", "_out")):
            signature[name] = "*" + TYPES[accumulator(dtype) if name in wide else dtype]
            attributes[(place,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "i32"
            if name in ("K", "V", "H", "L", "LENGTH", "D"):
                attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    registers, stack = resources(made.asm["cubin"])
    return {
        "registers": registers,
        "stack": stack,
        "shared": made.metadata.shared,
        "fits": made.metadata.shared <= SHARED[arch],
        "wgmma": "wgmma" in made.asm["ptx"],
    }


# Pointers to numbers in the dtype of sums, by structure.
SHARES = {"states_ptr", "grads_ptr", "dq_ptr", "dk_ptr", "dg_ptr", "decay_ptr", "out_ptr"}
WALK = {"first_ptr", "last_ptr", "decay_ptr", "over_ptr", "sums_ptr", "g_ptr"}
DELTA_SHARES = {"T_ptr", "blocks_ptr", "sums_ptr", "states_ptr", "grads_ptr", "last_ptr", "dw_ptr"}
DELTA_SHARES |= {"dq_ptr", "dk_ptr", "dbeta_ptr", "dg_ptr"}
SCAN_SHARES = {"states_ptr", "grads_ptr", "total_ptr", "work_ptr"}
SCAN_SHARES |= {"B_ptr", "C_ptr", "dA_ptr", "dB_ptr", "dC_ptr", "dD_ptr"}
SOFTMAX_SHARES = {"lse_ptr", "sum_ptr"}
Case = tuple[str, Any, dict[str, Any], set[str]]


def linear_cases(arch: int, dtype: str) -> Iterator[Case]:
    for K, DECAY in [(64, 1), (128, 1), (64, 2), (128, 2)]:
        if dtype == "float64" and K == 128:
            continue
        tile = linear_tile(arch, dtype, K, K, DECAY == 2, False)
        meta = {**blocks.options(tile, dtype, K), "DECAY": DECAY, "SCALE": 0.125}
        wide = WALK if meta["DOT"] == meta["RAW"] else WALK | {"A_ptr"}
        for OUTPUT in (True, False):
            how = {"OUTPUT": OUTPUT, "FIRST": OUTPUT, "LAST": True}
            name = f"walk_kernel K={K} decay={DECAY}{'' if OUTPUT else ' states'}"
            yield name, linear.walk_kernel, meta | how, wide
        if DECAY == 2:
            names = ("FINE", "BT", "BK", "ACC", "DOT", "PRECISION")
            prepare = {n: meta[n] for n in names} | {"num_warps": linear.PREPARE_WARPS}
            parts = 2 if tile.rows > 32 else 1
            prepare |= {"PARTS": parts, "LEVELS": (tile.rows // parts).bit_length() - 1}
            yield f"prepare_kernel K={K}", linear.prepare_kernel, prepare, wide
        tile = linear_tile(arch, dtype, K, K, DECAY == 2, True)
        meta = {**blocks.options(tile, dtype, K), "DECAY": DECAY, "SCALE": 0.125}
        backward = (gradients.states_kernel, gradients.dq_kernel, gradients.dk_kernel)
        for kernel in (*backward, gradients.dv_kernel):
            how = {"REVERSE": False} if kernel is gradients.states_kernel else {}
            yield f"{kernel.fn.__name__} K={K} decay={DECAY}", kernel, meta | how, SHARES
        meta = {n: meta[n] for n in ("BK", "ACC", "SCALE", "DECAY")} | {"BT": 16, "BV": 16}
        finish = {**meta, "num_warps": 4}
        yield f"finish_kernel K={K} decay={DECAY}", gradients.finish_kernel, finish, SHARES
    meta = {"DECAY": 2, "REVERSE": False, "BLOCK": 512, "ACC": getattr(tl, accumulator(dtype))}
    yield "carry_kernel", linear.carry_kernel, {**meta, "num_warps": 4}, SHARES


def delta_cases(arch: int, dtype: str) -> Iterator[Case]:
    for K in (64, 128):
        if dtype == "float64" and K == 128:
            continue
        tile = delta_tile(arch, dtype, K, K, False)
        meta = {**blocks.options(tile, dtype, K), "DECAY": True}
        walk = {**meta, "SCALE": 0.125, "STORE": False}
        wide = DELTA_SHARES - {"T_ptr"} if meta["DOT"] == meta["RAW"] else DELTA_SHARES
        yield f"delta_kernel K={K}", delta.delta_kernel, walk, wide
        tile = delta_tile(arch, dtype, K, K, True)
        back = {**blocks.options(tile, dtype, K), "DECAY": True, "SCALE": 0.125}
        again = {**back, "STORE": True}
        yield f"delta_kernel K={K} again", delta.delta_kernel, again, DELTA_SHARES
        yield f"delta_back_kernel K={K}", delta.delta_back_kernel, back, DELTA_SHARES
        yield f"delta_grad_kernel K={K}", delta.delta_grad_kernel, back, DELTA_SHARES
        inverse = {n: meta[n] for n in ("BK", "FINE", "ACC", "RAW", "DECAY")}
        one = inverse | {"num_warps": 1 + inverse["FINE"]}
        yield f"inverse_kernel K={K}", delta.inverse_kernel, one, DELTA_SHARES
        if meta["BT"] > 16:
            merge = inverse | {"BT": meta["BT"], "LEVELS": (meta["BT"] // 32).bit_length()}
            merge |= {"PRECISION": "tf32", "num_warps": delta.MERGE_WARPS}
            yield f"merge_kernel K={K}", delta.merge_kernel, merge, wide


def selective_cases(arch: int, dtype: str) -> Iterator[Case]:
    columns, own, warps, _ = scan_tile(dtype, 16, 8, 2048)
    meta = {"BD": columns, "BN": power_of_two(16, 1), "ACC": getattr(tl, accumulator(dtype))}
    meta |= {"OWN": own, "FULL": True}
    meta |= {"num_warps": warps}
    meta["TIMES"] = True
    walk = {"SKIP": True, "OUTPUT": True, "LAST": True}
    yield "walk_kernel", selective.walk_kernel, meta | walk, SCAN_SHARES
    back = {**meta, "STEPS": selective.STEPS}
    yield "reverse_kernel", selective.reverse_kernel, back, SCAN_SHARES
    yield "gradient_kernel", selective.gradient_kernel, {**meta, "SKIP": True}, SCAN_SHARES
    join = {"REVERSE": True, "BLOCK": 256, "ACC": meta["ACC"], "num_warps": 4}
    yield "join_kernel", selective.join_kernel, join, SCAN_SHARES


def softmax_cases(arch: int, dtype: str) -> Iterator[Case]:
    for K in (64, 128):
        if dtype == "float64" and K == 128:
            continue
        for kernel in (softmax.forward_kernel, softmax.dq_kernel, softmax.dkv_kernel):
            tile = softmax_tile(arch, dtype, K, K, kernel is not softmax.forward_kernel)
            meta = softmax.options(tile, dtype, K, K) | {"SCALE": 0.125, "CAUSAL": True}
            yield f"{kernel.fn.__name__} K={K}", kernel, meta, SOFTMAX_SHARES


CASES = {
    "linear": linear_cases,
    "delta": delta_cases,
    "selective": selective_cases,
    "softmax": softmax_cases,
}


def main(names: list[str]) -> None:
    for structure, cases in CASES.items():
        if names and structure not in names:
            continue
        for arch in (80, 90):
            for dtype in set(TYPES) - {"float16"}:  # as bfloat16
                for name, kernel, meta, wide in cases(arch, dtype):
                    row = {"kernel": f"{structure}.{name}", "arch": arch, "dtype": dtype}
                    try:
                        row |= compiled(kernel, arch, dtype, meta, wide)
                    except Exception as error:
                        row["error"] = f"{type(error).__name__}: {error}"[-600:]
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(sys.argv[1:])
