from dsf.core.authoring import *


class RWKV6(Recurrence, name="rwkv6", look=("vermillion", 1)):
    """RWKV-6.   y_t = (S_{t-1} + (bonus k_t) v_t')' q_t,   S_t = diag(w_t) S_{t-1} + k_t v_t'

    Diagonal decay w_t, read before the update, with a bonus for the current token.

    u [L d];  q, k, log_w [H L n] with log_w = -exp(.) < 0, v [H L p], bonus [H 1 n];  float64.
    `read="after"` is the same map in the other convention: C = q/w, D = q' diag(bonus - 1/w) k;
    its two terms cancel, so its relative error grows like eps/w.
    Source: Peng et al. 2024, arXiv 2404.05892.

    >>> import dsf
    >>> dsf.rwkv6.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    W1: Array = weight("1 d r")
    W2: Array = uniform("H r n", -0.01, 0.01)
    w0: Array = fixed("H 1 n", lambda n: np.linspace(-6, -1, n) if n > 1 else -3.0)
    bonus: Array = uniform("H 1 n", 0, 1)
    read: str = option("before", "after")

    equations = "diag(w_t) S_{t-1} + k_t v_t'", "(S_{t-1} + bonus k_t v_t')' q_t"
    spec = {"q": "L n", "k": "L n", "v": "L p", "log_w": "L n < 0", "bonus": "1 n"}
    facts = Facts("diagonal", True, "H*n*p", "5*H*n*p", source="peng2024", eigenvalues="(0, 1)")
    letters = {"r": lambda d: min(32, d)}

    def tokens(self, u: Array) -> Tokens:
        log_w = -ops.exp(self.w0 + ops.tanh(project(u, self.W1)) @ self.W2)
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        return Tokens(q=q, k=k, v=v, log_w=log_w, bonus=self.bonus)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        A, B = Diag(log_a=tok.log_w), col(tok.k)
        if self.read == "before":
            D = col(ops.asum(tok.q * tok.bonus * tok.k))
            return LTV(A, B, row(tok.q), D, read="before"), row(tok.v)
        q = tok.q * ops.exp(-tok.log_w)
        D = col(ops.asum(tok.q * tok.bonus * tok.k - q * tok.k))
        return LTV(A, B, row(q), D), row(tok.v)
