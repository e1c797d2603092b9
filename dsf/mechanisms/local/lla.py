from dsf.core.authoring import *
from dsf.mechanisms.local.fit import direction, ridge_per_weight, tilted


class LLA(Attention, name="lla", look=("grey", 1)):
    """Local linear attention.   y_i = sum_{j<=i} s_ij v_j,   s_ij = p_ij (1 - r_i'(k_j - kb_i))

    The value at the query of a weighted linear regression of the values on the keys seen so far:

        min_{b, W}  sum_{j<=i} w_ij |v_j - b - W (k_j - q_i)|^2 + c_i ridge |W|^2
        y_i = b = sum_j s_ij v_j,   r_i = (C_i + lam_i I)^-1 (kb_i - q_i)

    with w_ij = exp(q_i'k_j / sqrt(n)), omega_i = sum_j w_ij, p = w / omega, kb and C the mean and
    covariance of the keys under p, lam_i = c_i ridge / omega_i.  c_i is omega_i
    (`ridge_times="weights"`, as the authors' code has it: a factor common to all weights of a query
    drops out) or 1 ("one", as the paper has it).  The weights sum to 1 and may be negative.

    u [L d];  q, k [H L n], v [H L p], ridge [H 1 1] = e^{log_ridge}, learned, 10 at the start (the
    authors' fixed number);  float64.  Time L n^2 + n^3 per token, memory n numbers per weight.
    Raises IllConditionedError where the ridge is lost beside the covariance of the keys.
    Source: Zuo et al. 2026, arXiv 2510.01450.

    >>> import dsf
    >>> mech, u = dsf.lla.init(d=4, n=2, p=3), np.ones((5, 4))
    >>> bool(np.allclose(mech.kernel(u)[0].sum(-1), 1))
    True
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    log_ridge: Array = fixed("H 1 1", lambda: np.log(10.0))
    ridge_times: str = option("weights", "one")

    equations = "(S_{t-1}, v_t), all of them", "S_t' softmax(K_t q_t) (1 - (K_t - kb_t) r_t)"
    conventions = ("logits / sqrt(n)",)
    spec = {"q": "L n", "k": "L n", "v": "L p", "ridge": "1 1 > 0"}
    not_cached = ("q",)
    facts = Facts(
        "shift", state="H*L*p", flops="2*H*(L*(n*n+4*n+p)+n*n*n)", source="zuo2026",
        eigenvalues="0", normalised=True, order_aware=False,
    )  # fmt: skip

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        return Tokens(q=q, k=k, v=v, ridge=ops.exp(self.log_ridge))

    def weights(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        k, q = tok.k, tok.q[..., tok.q.shape[-2] - L :, :]
        seen = self.support(L, k.shape[-2])
        x = ops.logits(q / ops.sqrt(ops.const(k.shape[-1], k)), k, seen)
        p, ridge = ops.softmax(x, seen), tok.ridge
        if self.ridge_times == "one":
            ridge = ridge_per_weight(ridge, x, seen)
        return tilted(p, direction(p, ridge, q, k), k), tok.v
