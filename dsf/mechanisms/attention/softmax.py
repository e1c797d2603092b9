from dsf.core.authoring import *


class Softmax(DotProductAttention, name="softmax", look=("black", 0)):
    """Softmax attention.   y_i = sum_{j<=i} w_ij v_j,   w_i = softmax_j(q_i' k_j / sqrt(n))

    Causal softmax attention; its state is the growing cache of keys and values.

    u [L d];  q, k [H L n], v [H L p];  float64.  A row without a finite logit gives zeros.
    With `include_self=False` a query does not see its own key, and the first row is zero.
    Raises DomainError on a logit of +inf.  Source: Vaswani et al. 2017, arXiv 1706.03762.

    >>> import dsf
    >>> y = dsf.softmax.init(d=4, n=2, p=3)(np.ones((5, 4)))
    >>> bool(np.allclose(y, y[0]))
    True
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    include_self: bool = option(True, False)  # type: ignore[misc]

    update = "(S_{t-1}, v_t), all of them"
    conventions = ("logits / sqrt(n)",)
    spec = {"q": "L n", "k": "L n", "v": "L p"}
    not_cached = ("q",)

    @property
    def equations(self) -> tuple[str, str]:  # type: ignore[override]
        own = "" if self.include_self else ", all but the last"
        return self.update, f"S_t' softmax(K_t q_t){own}"

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        return Facts(
            "shift", state="H*L*p", flops="2*H*L*(n+p)", source="vaswani2017", eigenvalues="0",
            normalised=self.include_self, order_aware=False,
        )  # fmt: skip

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        return Tokens(q=q, k=k, v=v)

    def scores(self, tok: Tokens, L: int) -> tuple[Array, Array, Array]:
        n = tok.k.shape[-1]
        q = tok.q[..., tok.q.shape[-2] - L :, :] / ops.sqrt(ops.const(n, tok.q))
        return q, tok.k, tok.v
