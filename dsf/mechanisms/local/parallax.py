from dsf.core.authoring import *
from dsf.mechanisms.local.fit import tilted


class Parallax(Attention, name="parallax", look=("grey", 2)):
    """Parallax.   y_i = sum_{j<=i} s_ij v_j,   s_ij = p_ij (1 - r_i'(k_j - kb_i))

    Softmax attention, p_i = softmax_j(q_i'k_j / sqrt(n)), less the covariance of keys and values
    along a learned direction r_i; kb_i is the mean of the keys under p_i.  r = 0 is softmax
    attention, r_i = (C_i + lam I)^-1 (kb_i - q_i) is local linear attention (`lla`).  The weights
    sum to 1 and may be negative.

    u [L d];  q, k, r [H L n], v [H L p];  float64.
    Source: Zuo et al. 2026, arXiv 2605.29157.

    >>> import dsf
    >>> mech, u = dsf.parallax.init(d=4, n=2, p=3), np.ones((5, 4))
    >>> bool(np.allclose(mech.kernel(u)[0].sum(-1), 1))
    True
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    Wr: Array = weight("H d n")

    equations = "(S_{t-1}, v_t), all of them", "S_t' softmax(K_t q_t) (1 - (K_t - kb_t) r_t)"
    conventions = ("logits / sqrt(n)",)
    spec = {"q": "L n", "k": "L n", "v": "L p", "r": "L n"}
    not_cached = ("q", "r")
    facts = Facts(
        "shift", state="H*L*p", flops="2*H*L*(3*n+p)", source="zuo2026parallax", eigenvalues="0",
        normalised=True, order_aware=False,
    )  # fmt: skip

    def tokens(self, u: Array) -> Tokens:
        q, k, v, r = (project(u, W) for W in (self.Wq, self.Wk, self.Wv, self.Wr))
        return Tokens(q=q, k=k, v=v, r=r)

    def weights(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        k, end = tok.k, tok.q.shape[-2]
        q, r = (x[..., end - L :, :] for x in (tok.q, tok.r))
        seen = self.support(L, k.shape[-2])
        x = ops.logits(q / ops.sqrt(ops.const(k.shape[-1], k)), k, seen)
        return tilted(ops.softmax(x, seen), r, k), tok.v
