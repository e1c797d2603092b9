from dsf.core.authoring import *


class Mesa(Recurrence, name="mesa", look=("green", 2)):
    """Mesa.   S_t = g_t S_{t-1} + k_t (k_t, v_t)',   y_t = G_t' (H_t + c_t lam I)^-1 q_t

    Ridge regression of the values on the keys so far, read at the query: a linear recurrence with a
    read-out that is not linear in its state S = (H, G).  Given the keys it is linear in the values.

        M_t = argmin_M sum_{j<=t} (g_{j+1} ... g_t) |v_j - M'k_j|^2 + c_t lam |M|^2,  y_t = M_t'q_t

    `ridge_forgets=False`: c_t = 1, the ridge is added where it is read.  True: c_t = g_1 ... g_t,
    recursive least squares, which forgets its ridge too; the state is then H_t + (c_t - 1) lam I,
    which starts at zero.  `gated=False`: g_t = 1, where both are one.

    u [L d];  q, k [H L n], v [H L p], log_g [H L 1] < 0, ridge [H 1 1] = e^{log_ridge}, learned, 1
    at the start, as gates start near 0.95;  state (H, G) [n n+p];  float64.  Published layers also
    normalise keys and weigh each token.  Raises IllConditionedError where the ridge is lost.
    Source: von Oswald et al. 2025, arXiv 2506.05233.

    >>> import dsf
    >>> dsf.mesa.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    log_ridge: Array = zeros("H 1 1")
    Wg: Array = weight("H d 1")
    bg: Array = fixed("H 1 1", lambda: 3.0)
    gated: bool = option(True, False)
    ridge_forgets: bool = option(False, True)

    spec = {
        "q": "L n", "k": "L n", "v": "L p", "log_g": "L 1 < 0 if gated", "ridge": "1 1 > 0",
    }  # fmt: skip

    @property
    def equations(self) -> tuple[str, str]:  # type: ignore[override]
        gate = "g_t " if self.gated else ""
        less = " - (1 - g_t) lambda (I, 0)" if self.forgotten else ""
        return (
            f"{gate}S_{{t-1}} + k_t (k_t, v_t)'{less}",
            "G_t' (H_t + lambda I)^{-1} q_t, (H, G) = S",
        )

    @property
    def forgotten(self) -> bool:
        """Whether the ridge leaves with the gates; without gates it stays."""
        return self.ridge_forgets and self.gated

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        flops = {(False, False): "2*n+2", (True, False): "2*n+3", (True, True): "4*n+3"}
        return Facts(
            "scalar", state="H*n*(n+p)", source="vonoswald2025",
            flops=f"H*({flops[self.gated, self.forgotten]})*n*(n+p)",
            eigenvalues="(0, 1)" if self.gated else "1", order_aware=self.gated,
        )  # fmt: skip

    def tokens(self, u: Array) -> Tokens:
        ridge = ops.exp(self.log_ridge)
        log_g = ops.logsigmoid(project(u, self.Wg) + self.bg) if self.gated else None
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        return Tokens(q=q, k=k, v=v, log_g=log_g, ridge=ridge)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        k, n = tok.k, tok.k.shape[-1]
        A = Diag(log_a=tok.log_g) if self.gated else Diag(a=ops.ones((1, 1), k))
        B, X, one = col(k), row(ops.cat([k, tok.v])), ops.expand(ops.eye(n, k), -3)
        if self.forgotten:
            leak = ops.expand(ops.expm1(tok.log_g) * tok.ridge, -1) * one
            leak = ops.cat([leak, ops.zeros((n, tok.v.shape[-1]), k)])
            B, X = ops.cat([B, one]), ops.cat([X, leak], -2)
        return LTV(A, B=B, C=one), X

    def reading(self, H: Array, tok: Tokens) -> Array:
        """q_t' (H_t + ridge I)^-1 [... L 1 n], for H [... L n n]."""
        A = H + ops.expand(tok.ridge, -1) * ops.eye(H.shape[-1], H)
        return ops.mT(ops.solve(A, col(tok.q)))

    def readout(self, o: Array, tok: Tokens) -> Array:
        n = tok.k.shape[-1]
        return self.reading(o[..., :n], tok) @ o[..., n:]

    def linear(self, tok: Tokens, L: int) -> tuple[LTV, Array]:
        ltv, X = self.system(tok)
        H = ltv.scan(X)[0][..., : tok.k.shape[-1]]
        return LTV(ltv.A, B=col(tok.k), C=self.reading(H, tok), steps=L), row(tok.v)
