"""Which heads of a transformer can become recurrent, and with how many states.

A folder or GGUF file of a causal language model as argument; a small GPT-2 with random weights
without one.  Needs the extra `models` of this package.
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

import dsf

TEXT = "The ferry leaves at six. In winter the ferry carries the post; in summer, bicycles. " * 4

if len(sys.argv) > 1:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], attn_implementation="sdpa")
    ids = AutoTokenizer.from_pretrained(sys.argv[1])(TEXT, return_tensors="pt").input_ids
else:
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=64, vocab_size=256))
    ids = torch.tensor([list(TEXT.encode())])[:, :128]

found = dsf.inspect(model, input_ids=ids, n_jobs=1)
print(found)

# The words of the rule, and what one head needs on each probe.
(module, call, head), verdict = next(iter(found.verdicts.items()))
print(f"\n{module}, head {head}: {verdict}, decided by {verdict.probe!r}")
for row in found.heads[module, call, head]:
    print(f"  {row.probe:8}{row.states}, closest to {row.closest}")
