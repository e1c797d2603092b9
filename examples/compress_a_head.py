"""One head of attention as a recurrence with few states, streamed token by token."""

import numpy as np
import torch
from torch import nn

import dsf

torch.manual_seed(0)
layer = nn.MultiheadAttention(32, 2, batch_first=True)
x = torch.randn(1, 64, 32).cumsum(1) / 4
mask = nn.Transformer.generate_square_subsequent_mask(64)
found = dsf.inspect(lambda x: layer(x, x, x, attn_mask=mask)[0], x, rtol=(0.05,))
row = found.rows[0]
M = found.kernel(row).matrix  # [64 64]: what the head does on this input

proof = dsf.realize(M, rtol=0.05)
print(proof, "\n")
print(f"fewer than {proof.lower} states cannot, the recurrence found has {proof.upper}")

# The recurrence runs: one token in, one token out, and its states are all that is kept.
values = np.random.default_rng(0).standard_normal((64, 16))  # [L V]
S, streamed = np.zeros((proof.system.n, 16)), []
for t in range(64):
    y, S = proof.system.step(t, S, values[t : t + 1])
    streamed.append(y[0])
error = np.linalg.norm(np.array(streamed) - M @ values) / np.linalg.norm(M @ values)
print(f"streamed against attention itself: relative error {error:.3f}")
