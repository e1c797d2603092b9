from dsf.core.authoring import *


class SSD(Recurrence, name="mamba2", look=("blue", 1)):
    """SSD, the core of Mamba-2.   S_t = exp(dt_t a) S_{t-1} + dt_t k_t v_t',   y_t = S_t' q_t

    State space duality: one scalar decay per head and token, coupled to the write by dt.

    u [L d];  q, k [H L n], v [H L p], dt [H L 1] > 0, a [H 1 1] < 0;  float64.
    `skip=True` adds D v_t.  Drawn with a = -U[1, 16], dt in [1e-3, 1e-1] as published.
    Source: Dao & Gu 2024, arXiv 2405.21060.

    >>> import dsf
    >>> dsf.mamba2.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    Wdt: Array = weight("H d 1")
    b: Array = step_size("H 1 1")
    A_log: Array = drawn("H 1 1", lambda rng, shape: np.log(rng.uniform(1, 16, shape)))
    D: Array = ones("H 1 1")
    skip: bool = option(False, True)

    equations = "e^{dt_t a} S_{t-1} + dt_t k_t v_t'", "S_t' q_t"
    spec = {
        "q": "L n", "k": "L n", "v": "L p", "dt": "L 1 > 0", "a": "1 1 < 0", "skip": "1 1 if skip",
    }  # fmt: skip
    facts = Facts("scalar", True, "H*n*p", "5*H*n*p", source="dao2024", eigenvalues="(0, 1)")

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        dt, a = ops.softplus(project(u, self.Wdt) + self.b), -ops.exp(self.A_log)
        return Tokens(q=q, k=k, v=v, dt=dt, a=a, skip=self.D if self.skip else None)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        A = Diag(log_a=Prod((tok.dt, tok.a)))
        D = col(tok.skip) if self.skip else None
        return LTV(A, Prod((col(tok.dt), col(tok.k))), row(tok.q), D), row(tok.v)
