"""A student for one head: what few states can reach, proved, and a layer that reads inputs."""

import numpy as np
import torch
from torch import nn

import dsf

torch.manual_seed(0)
layer = nn.MultiheadAttention(16, 1, batch_first=True)
x = torch.randn(16, 48, 16).cumsum(1) / 3  # sixteen texts
mask = nn.Transformer.generate_square_subsequent_mask(48)
found = dsf.inspect(lambda x: layer(x, x, x, attn_mask=mask)[0], x)
M = np.stack([found.kernel(row).matrix for row in found.rows])  # [16 48 48]

# Frozen: queries, keys and gates of each token are free. Nothing with n states is below the floor.
print(dsf.distil(M[0], "gla", states=(1, 2, 4), iterations=100), "\n")

# A layer whose tokens are maps of the inputs, fitted to twelve texts and tried on four others.
u = x.double().numpy()
student = dsf.distil(
    M[:12], "linear_attn(phi=exp, normalise=True)", states=4, inputs=u[:12], start="drawn",
    loss="kl", iterations=100,
)  # fmt: skip
print(student, "\n")
print(f"error on four texts that it has not seen: {student.error(M[12:], u[12:]):.3f}")
