from dsf.core.authoring import *


class RetNet(Recurrence, name="retnet", look=("sky", 0)):
    """Retention.   S_t = gamma S_{t-1} + k_t v_t',   y_t = S_t' q_t,   gamma_h = 1 - 2^{-5-h}

    u [L d];  q, k [H L n], v [H L p], gamma [H 1 1];  float64.  `rotation`: True turns the n/2
    pairs (x_i, x_{i + n/2}) of the state by theta, y = Re(q' S);  "qk" turns q and k by position,
    the published form.  Source: Sun et al. 2023, arXiv 2307.08621.

    >>> import dsf
    >>> dsf.retnet(rotation=True).init(4, 4, 3).ltv(np.ones((6, 4))).A.structure
    'diagonal'
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    gamma: Array = fixed("H 1 1", lambda H: (1 - 2.0 ** (-5 - np.arange(H))).reshape(H, 1, 1))
    theta: Array = fixed("H 1 n/2", lambda n: 10000.0 ** (-np.arange(n // 2) / max(n // 2, 1)))
    rotation: bool | str = option(False, True, "qk")

    equations = "gamma S_{t-1} + k_t v_t'", "S_t' q_t"
    spec = dict(q="L n", k="L n", v="L p", gamma="1 1 in (0, 1)", theta="1 n/2 if rotation")
    spec |= {"pos": "L 1 if rotation=qk"}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        kind, end, c = ("diagonal", "disc", 7) if self.rotation is True else ("scalar", "(0, 1)", 5)
        return Facts(kind, True, "H*n*p", f"{c}*H*n*p", "sun2023", eigenvalues=end)

    def tokens(self, u: Array) -> Tokens:
        theta = self.theta if self.rotation else None
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        return Tokens(q=q, k=k, v=v, gamma=self.gamma, theta=theta)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        q, k, a = tok.q, tok.k, tok.gamma
        if self.rotation is True:
            q, k, a = as_pairs(q), ops.conj(as_pairs(k)), a * ops.cis(tok.theta)
        elif self.rotation == "qk":
            q, k = (rotate(x, ops.phase(tok.theta, tok.pos)) for x in (q, k))
        return LTV(Diag(a=a), B=col(k), C=row(q)), row(tok.v)

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o) if self.rotation is True else o
