from dsf.core.authoring import *
from dsf.mechanisms.delta.deltanet import DeltaNet


class GatedDeltaNet(DeltaNet, name="gated_deltanet", look=("purple", 1)):
    """Gated DeltaNet.   S_t = a_t (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t',   y_t = S_t' q_t

    The delta rule on a decayed state; the decay is that of Mamba-2.

    u [L d];  as DeltaNet, and log_a [H L 1] = -e^{A_log} softplus(u_t w + b) < 0;  float64.
    Source: Yang et al. 2024, arXiv 2412.06464.

    >>> import dsf
    >>> dsf.gated_deltanet.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wdt: Array = weight("H d 1")
    b: Array = step_size("H 1 1")
    A_log: Array = drawn("H 1 1", lambda rng, shape: np.log(rng.uniform(1, 16, shape)))

    equations = "a_t (I - b_t k_t k_t') S_{t-1} + b_t k_t v_t'", "S_t' q_t"
    spec = DeltaNet.spec | {"log_a": "L 1 < 0"}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        region = ("(0, 1)" if self.reach == 1 else "(-1, 1)") if self.unit_keys else "any"
        return replace(super().facts, flops="7*H*n*p", source="yang2024gated", eigenvalues=region)

    def tokens(self, u: Array) -> Tokens:
        dt = ops.softplus(project(u, self.Wdt) + self.b)
        return super().tokens(u).replace(log_a=-ops.exp(self.A_log) * dt)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        A = Erase(Diag(log_a=tok.log_a), k=col(tok.k), beta=col(tok.beta))
        return LTV(A, B=A.write, C=row(tok.q)), row(tok.v)
