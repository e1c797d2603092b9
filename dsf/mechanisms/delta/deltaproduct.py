from dsf.core.authoring import *


class DeltaProduct(Recurrence, name="deltaproduct", look=("purple", 2)):
    """DeltaProduct.   `steps` delta-rule updates per token, of which the last state is read.

    Several substeps of the delta rule per token: A_t is a product of `steps` reflections.

    u [L d];  k [H sL n] with |k| = 1, v [H sL p], beta [H sL 1] in (0, reach), q [H L n];
    substep j of token t is row s t + j;  float64.  Source: Siems et al. 2025, arXiv 2502.10297.

    >>> import dsf
    >>> dsf.deltaproduct.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("steps H d n")
    Wv: Array = weight("steps H d p")
    Wb: Array = weight("steps H d 1")
    steps: int = option(2, 1, least=1)
    reach: int = option(2, 1)

    equations = "prod (I - b k k') S_{t-1} + writes", "S_t' q_t"
    spec = {"q": "L n", "k": "sL n unit", "v": "sL p", "beta": "sL 1 in (0, {reach})"}
    facts = Facts(
        "low rank", True, "H*n*p", "(4*steps+2)*H*n*p", "siems2025", eigenvalues="closed disc"
    )
    tried = ({"steps": 3, "reach": 1},)

    @property
    def substeps(self) -> int:
        return self.steps

    def tokens(self, u: Array) -> Tokens:
        k, v, b = (self._substep_tokens(u, W) for W in (self.Wk, self.Wv, self.Wb))
        q, beta = project(u, self.Wq), self.reach * ops.sigmoid(b)
        return Tokens(q=q, k=ops.normalise(k), v=v, beta=beta)

    def _substep_tokens(self, u: Array, W: Array) -> Array:
        x = ops.stack([project(u, W[j]) for j in range(self.steps)], -2)
        return x.reshape(*x.shape[:-3], x.shape[-3] * self.steps, x.shape[-1])

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        A = Erase(Diag(a=ops.ones((1, 1), tok.k)), k=col(tok.k), beta=col(tok.beta))
        q = ops.stack([tok.q] * self.steps, -2)
        q = q.reshape(*q.shape[:-3], q.shape[-3] * self.steps, q.shape[-1])
        return LTV(A, B=A.write, C=row(q)), row(tok.v)
