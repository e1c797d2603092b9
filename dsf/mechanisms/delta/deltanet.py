from dsf.core.authoring import *


class DeltaNet(Recurrence, name="deltanet", look=("purple", 0)):
    """Delta rule.   S_t = (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t',   y_t = S_t' q_t

    u [L d];  q, k [H L n] with |k| = 1, v [H L p], beta [H L 1] = reach * sigmoid;  float64.
    `reach` 2 allows negative eigenvalues; `unit_keys=False` keeps |k|, and warns NotContractive.
    Source: Schlag et al. 2021, arXiv 2102.11174; Yang et al. 2024, arXiv 2406.06484.

    >>> import dsf
    >>> dsf.deltanet.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    Wb: Array = weight("H d 1")
    reach: int = option(1, 2)
    unit_keys: bool = option(True, False)

    equations = "(I - b_t k_t k_t') S_{t-1} + b_t k_t v_t'", "S_t' q_t"
    spec = {"q": "L n", "k": ("L n unit if unit_keys", "L n"), "v": "L p"}
    spec |= {"beta": "L 1 in (0, {reach})"}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        end = ("(0, 1]" if self.reach == 1 else "(-1, 1]") if self.unit_keys else "any"
        return Facts("low rank", self.unit_keys, "H*n*p", "6*H*n*p", "schlag2021", eigenvalues=end)

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        beta = self.reach * ops.sigmoid(project(u, self.Wb))
        k = ops.normalise(k) if self.unit_keys else k
        return Tokens(q=q, k=k, v=v, beta=beta)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        A = Erase(Diag(a=ops.ones((1, 1), tok.k)), k=col(tok.k), beta=col(tok.beta))
        return LTV(A, B=A.write, C=row(tok.q)), row(tok.v)

    def validate(self, tok: Tokens) -> None:
        if not self.unit_keys:
            self.warn_growth(1 - tok.beta * ops.asum(tok.k * tok.k))
