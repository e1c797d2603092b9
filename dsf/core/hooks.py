"""What a lower room asks of a higher one, by name: filled in by `dsf/__init__.py`, the front door.

The front door stands above all rooms and is always imported first; each hook imports what it needs
when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

load_mechanisms: Callable[[], Any]  # import every file of the catalogue
torch_module: Callable[[Any], Any]  # a mechanism: the `torch.nn.Module` around it
torch_layer: Callable[..., Any]  # a family, d, n, p, heads, seed or None: a new layer
check: Callable[[Any], bool]  # a certificate: True, or CertificateError
from_json: Callable[[str], Any]  # text: the certificate, or CertificateError
load_claims: Callable[[], Any]  # import every module that defines a kind of claim
prove: Callable[[Any], Any]  # a nesting: its proof
certify: Callable[[Any, Any], Any]  # a nesting and a scope: its certificate
load_torch_kernels: Callable[[], Any]  # import the operators of torch, which set the next one
torch_kernel: Callable[..., Any]  # a structure, backend, tensors and numbers: (y, state)
kernel: Callable[[str, Any, Any], Any]  # a structure, its arrays and numbers: (y, state) or None
theorems: Callable[[], list[Any]]  # every theorem of the repository, none of them run
judge: Callable[[Any], Any]  # what a theorem's claim returned: whether it holds, and its lines
figures: Callable[[], list[Any]]  # every figure, none of them computed
kept_findings: Callable[[Any], Any]  # a figure: the findings on its kept table, or None
