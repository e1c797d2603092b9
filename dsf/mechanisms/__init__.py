"""The mechanisms, one small file each, and the table of registered families."""

from dsf.core.family import register
from dsf.mechanisms.attention.normalised_attn import NormalisedAttention
from dsf.mechanisms.attention.softmax import Softmax, WindowSoftmax
from dsf.mechanisms.delta.deltanet import DeltaNet
from dsf.mechanisms.delta.deltaproduct import DeltaProduct
from dsf.mechanisms.delta.gated_deltanet import GatedDeltaNet
from dsf.mechanisms.linear.gla import GLA
from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.mechanisms.linear.mlstm import MLSTM
from dsf.mechanisms.linear.retnet import RetNet
from dsf.mechanisms.linear.rwkv6 import RWKV6
from dsf.mechanisms.rnn.gru import GRU
from dsf.mechanisms.rnn.qlstm import QLSTM
from dsf.mechanisms.rnn.rglru import RGLRU
from dsf.mechanisms.ssm.lru import LRU
from dsf.mechanisms.ssm.mamba import S6
from dsf.mechanisms.ssm.mamba2 import SSD
from dsf.mechanisms.ssm.mamba3 import Mamba3
from dsf.mechanisms.ssm.s4d import S4D

softmax = register("softmax", Softmax)
window_softmax = register("window_softmax", WindowSoftmax)
linear_attn = register("linear_attn", LinearAttention)
normalised_linear_attn = register(
    "normalised_linear_attn", LinearAttention, phi="elu+1", normalise=True
)
normalised_attn = register("normalised_attn", NormalisedAttention)
retnet = register("retnet", RetNet)
s4d = register("s4d", S4D)
lru = register("lru", LRU)
mamba = register("mamba", S6)
mamba2 = register("mamba2", SSD)
gla = register("gla", GLA)
deltanet = register("deltanet", DeltaNet)
gated_deltanet = register("gated_deltanet", GatedDeltaNet)
deltaproduct = register("deltaproduct", DeltaProduct)
rwkv6 = register("rwkv6", RWKV6)
mlstm = register("mlstm", MLSTM)
mamba3 = register("mamba3", Mamba3)
qlstm = register("qlstm", QLSTM)
rglru = register("rglru", RGLRU)
gru = register("gru", GRU)
