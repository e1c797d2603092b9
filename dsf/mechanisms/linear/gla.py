from dsf.core.authoring import *


class GLA(Recurrence, name="gla", look=("vermillion", 0)):
    """Gated linear attention.   S_t = diag(a_t) S_{t-1} + k_t v_t',   y_t = S_t' q_t

    u [L d];  q, k, log_a [H L n], v [H L p];  log_a = logsigmoid(W2 W1 u + b) / 16;  float64.
    Source: Yang et al. 2023, arXiv 2312.06635.

    >>> import dsf
    >>> dsf.gla.init(d=4, n=2, p=3)(np.zeros((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    W1: Array = weight("1 d r")  # shared by the heads
    W2: Array = weight("H r n")
    b: Array = zeros("H 1 n")

    equations = "diag(a_t) S_{t-1} + k_t v_t'", "S_t' q_t"
    conventions = "q / sqrt(n)", "log-gates / 16"
    spec = {"q": "L n", "k": "L n", "v": "L p", "log_a": "L n < 0"}
    facts = Facts("diagonal", True, "H*n*p", "5*H*n*p", source="yang2023", eigenvalues="(0, 1)")
    letters = {"r": lambda d: min(16, d)}

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        q = q / ops.sqrt(ops.const(q.shape[-1], u))
        log_a = ops.logsigmoid(project(u, self.W1) @ self.W2 + self.b) / 16
        return Tokens(q=q, k=k, v=v, log_a=log_a)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        return LTV(Diag(log_a=tok.log_a), B=col(tok.k), C=row(tok.q)), row(tok.v)
