from dsf.core.authoring import *


class NormalisedAttention(Recurrence, name="normalised_attn", look=("orange", 2)):
    """Normalised attention.   y_t = (1 / eta(u_t)) sum_{j<=t} (q_t' k_j) v_j

    Linear attention divided by a learned function of the current token only.

    u [L d];  q, k [H L n], v [H L p], eta [H L 1] = f(u_t w + b) > 0, f = exp, softplus or sigmoid.
    As a map this is linear attention with the scalar output gate 1/eta; float64.
    Source: Sieber et al. 2024, arXiv 2405.15731, eq. (21).

    >>> import dsf
    >>> dsf.normalised_attn(eta="softplus").init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    w: Array = weight("H d 1")
    b: Array = zeros("H 1 1")
    eta: str = option("exp", "softplus", "sigmoid")

    equations = "S_{t-1} + k_t v_t'", "S_t' q_t / eta_t"
    conventions = ("divided by eta(u_t)",)
    spec = {
        "q": "L n", "k": "L n", "v": "L p", "eta": ("L 1 in (0, 1) if eta=sigmoid", "L 1 > 0"),
    }  # fmt: skip
    facts = Facts(
        "scalar", state="H*n*p", flops="4*H*n*p", source="sieber2024", eigenvalues="1",
        order_aware=False,
    )  # fmt: skip

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        f = getattr(ops, self.eta)
        return Tokens(q=q, k=k, v=v, eta=f(project(u, self.w) + self.b))

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        C = row(tok.q / tok.eta)
        return LTV(Diag(a=ops.ones((1, 1), tok.k)), B=col(tok.k), C=C), row(tok.v)

    def validate(self, tok: Tokens) -> None:
        if bool((tok.eta == 0).any()):
            raise DomainError(
                f"{self.name}: eta = {self.eta}(u w + b) underflowed to 0 at some token, so the "
                "output is undefined. Likely cause: input too large; rescale it."
            )
