from dsf.core.authoring import *


class S6(Recurrence, name="mamba", look=("blue", 0)):
    """S6, the core of Mamba.   h_t = exp(dt_t a) h_{t-1} + dt_t k_t x_t,   y_t = q_t' h_t

    u [L d], channels p = d act as heads;  dt [p L 1], a [p 1 n] < 0, q, k [1 L n];  float64.
    `skip=True` adds D x_t.  `discretisation`: "simplified" writes dt k (the published code), "zoh"
    (e^{dt a} - 1)/a k.  Source: Gu & Dao 2023, arXiv 2312.00752.

    >>> import dsf
    >>> dsf.mamba.init(d=4, n=2)(np.ones((5, 4))).shape
    (5, 4)
    """

    Wq: Array = weight("d n")
    Wk: Array = weight("d n")
    Wr: Array = weight("d r")  # low-rank half of the step size
    Wdt: Array = weight("r d")
    b: Array = step_size("d")
    A_log: Array = fixed("d 1 n", lambda n: np.log(np.arange(1.0, n + 1)))
    D: Array = ones("d 1 1")
    discretisation: str = option("simplified", "zoh")
    skip: bool = option(False, True)

    equations = "e^{dt_t a} h_{t-1} + dt_t k_t x_t", "q_t' h_t"
    conventions = ("channels are heads",)
    spec = dict(q="1 L n", k="1 L n", v="p L 1", dt="p L 1 > 0", a="p 1 n < 0")
    spec |= {"skip": "p 1 1 if skip"}
    facts = Facts("diagonal", True, "n*p", "5*n*p", source="gu2023", eigenvalues="(0, 1)")
    letters = {"r": lambda d: max(1, -(-d // 16))}

    def tokens(self, u: Array) -> Tokens:
        dt = ops.softplus(u @ self.Wr @ self.Wdt + self.b)
        q, k, v = split_heads(u @ self.Wq), split_heads(u @ self.Wk), channels(u)
        a, skip = -ops.exp(self.A_log), self.D if self.skip else None
        return Tokens(q=q, k=k, v=v, dt=channels(dt), a=a, skip=skip)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        zoh = self.discretisation == "zoh"
        write = col(tok.dt * ops.expm1_over(tok.dt * tok.a) if zoh else tok.dt)
        B, D = Prod((write, col(tok.k))), col(tok.skip) if self.skip else None
        return LTV(Diag(log_a=Prod((tok.dt, tok.a))), B, row(tok.q), D), row(tok.v)
