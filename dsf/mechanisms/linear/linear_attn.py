from dsf.core.authoring import *
from dsf.core.draws import orthogonal_rows
from dsf.mechanisms.linear.features import NAMES, POSITIVE, feature_map


class LinearAttention(Recurrence, name="linear_attn", look=("orange", 0)):
    """Linear attention.   S_t = S_{t-1} + phi(k_t) v_t',   y_t = S_t' phi(q_t)

    Linear attention with feature map `phi`, optionally divided by the sum of its weights.

    u [L d];  Wq, Wk [H d n], Wv [H d p];  q, k [H L n'] after the feature map;  float64.
    `normalise=True` appends the value 1, whose output is the normaliser.  The weights of
    phi = identity and taylor of odd order have both signs, so their sum may cancel: a relative
    rounding grows by sum|w| / |sum w|, and DomainError is raised where the sum is exactly 0.
    `phi="favor"` draws `features` (0: n) random features.
    Source: Katharopoulos et al. 2020, arXiv 2006.16236.

    >>> import dsf
    >>> dsf.linear_attn.init(d=4, n=2, p=3).kernel(np.ones((5, 4))).shape
    (1, 5, 5)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    omega: Array = drawn("m n", orthogonal_rows, when=("phi", "favor"))
    phi: str = option(*NAMES)
    order: int = option(2, least=0)  # of the feature map "taylor"
    features: int = option(0, least=0)  # of the feature map "favor"
    normalise: bool = option(False, True)

    equations = "S_{t-1} + k_t v_t'", "S_t' q_t"
    letters = {"m": lambda features, n: features or n}
    also = {"normalised_linear_attn": {"phi": "elu+1", "normalise": True}}
    tried = ({"phi": "taylor", "normalise": True},)

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        sign = " > 0" if self.phi in POSITIVE else ""
        return {"q": "L n" + sign, "k": "L n" + sign, "v": "L p"}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        p = "(p+1)" if self.normalise else "p"
        return Facts(
            "scalar", state=f"H*n*{p}", flops=f"4*H*n*{p}", source="katharopoulos2020",
            eigenvalues="1", normalised=self.normalise, order_aware=False,
        )  # fmt: skip

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        q, k = (feature_map(self.phi, x, self.order, self.omega) for x in (q, k))
        return Tokens(q=q, k=k, v=v)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        v = ops.cat([tok.v, ops.ones_like(tok.v[..., :1])]) if self.normalise else tok.v
        return LTV(Diag(a=ops.ones((1, 1), tok.k)), B=col(tok.k), C=row(tok.q)), row(v)

    def normaliser(self, o: Array, tok: Tokens) -> Array | None:
        return o[..., -1:] if self.normalise else None
