"""One rank of a test: `python ranks.py rank size folder`; writes folder/rank.npz.

All ranks run every family over slices of unequal length, some of them empty.
"""

import sys
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

import dsf
from dsf.core.errors import OverflowingScanError, RankError

FAMILIES = ("gla", "retnet", "deltanet", "mamba3", "lru", "window_softmax", "softmax")


def ends(size, name):
    """Where slices begin and end; the first one of retnet is empty."""
    if size == 2:
        return (0, 0, 12) if name == "retnet" else (0, 5, 12)
    return 0, 5, 5, 6, 12


def drawn(name):
    """A mechanism, and a whole input [batch L d]."""
    mech = dsf.family(name).init(d=4, n=4, p=3, heads=2, seed=0)
    return mech, np.random.default_rng(0).standard_normal((2, 12, 4))


def loss(y, state):
    """Of outputs; of the last state too, which travels as well."""
    total = y.square().sum()
    return total if state.S is None else total + state.S.real.sum()


def gradient(x):
    """That of a tensor; none at all, as of an empty slice, is zero."""
    return torch.zeros_like(x) if x.grad is None else x.grad


def main(rank, size, folder):
    meeting = f"file://{folder}/meeting"
    wait = timedelta(seconds=60)
    dist.init_process_group("gloo", meeting, timeout=wait, rank=rank, world_size=size)
    found = {}
    for name in FAMILIES:
        rows = slice(*ends(size, name)[rank : rank + 2])
        mech, u = drawn(name)
        y, state = dsf.distributed.scan(mech, u[:, rows])
        found |= {f"{name} y": y, f"{name} t": state.t}
        if state.S is not None:
            found[f"{name} S"] = state.S
        layer, part = mech.to_torch(), torch.tensor(u[:, rows], requires_grad=True)
        y, state = dsf.distributed.scan(layer, part)
        found[f"{name} torch"] = y.detach().numpy()
        loss(y, state if rank == size - 1 else dsf.State()).backward()
        found[f"{name} grad"] = gradient(part).numpy()
        for k, x in layer.named_parameters():
            share = gradient(x)
            dist.all_reduce(share)  # each rank has its share
            found[f"{name} grad {k}"] = share.numpy()
    try:  # one rank is refused, all of them end
        mech, u = drawn("gla")
        dsf.distributed.scan(mech, u[:, rows] * (1e200 if rank == size - 1 else 1))
        found["failed"] = "nothing"
    except (OverflowingScanError, RankError) as e:
        found["failed"] = f"{type(e).__name__}: {e}"
    np.savez(f"{folder}/{rank}.npz", **found)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
