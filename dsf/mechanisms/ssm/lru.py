from dsf.core.authoring import *

END = 1e-6  # draws keep away from 0 and 1, where the logarithms of the parameters are infinite


def _input(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape) / np.sqrt(2 * shape[-1])


def _output(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape) / np.sqrt(shape[-1])


class LRU(Recurrence, name="lru", look=("green", 1)):
    """LRU.   h_t = lambda h_{t-1} + gamma (B u_t),   y_t = Re(C h_t) + D u_t

    Linear recurrent unit: one constant complex diagonal system with dense input and output.

    u [L d];  lambda = exp(-e^nu + i e^theta) [n], B [n d], C [d n] complex, D [d];  the output has
    d channels and there is no head axis.  float64 / complex128.  Drawn with |lambda|^2 uniform in
    (0, 1), phase in (0, 2 pi), gamma = sqrt(1 - |lambda|^2).
    Source: Orvieto et al. 2023, arXiv 2303.06349.

    >>> import dsf
    >>> dsf.lru.init(d=3, n=2)(np.ones((5, 3))).shape
    (5, 3)
    """

    nu: Array = drawn("1 n", lambda rng, shape: rng.uniform(END, 1 - END, shape))
    theta: Array = drawn("1 n", lambda rng, shape: np.log(rng.uniform(END, 2 * np.pi, shape)))
    log_gamma: Array = drawn("n 1", lambda rng, shape: np.zeros(shape))
    b_re: Array = drawn("n d", _input)
    b_im: Array = drawn("n d", _input)
    c_re: Array = drawn("d n", _output)
    c_im: Array = drawn("d n", _output)
    skip: Array = drawn("1 d", lambda rng, shape: rng.standard_normal(shape))

    equations = "lambda h_{t-1} + gamma B u_t", "Re(C h_t) + D u_t"
    conventions = ("input scaled by gamma",)
    spec = {
        "u": "L d", "rate": "1 n > 0", "angle": "1 n", "gamma": "n 1 > 0", "b_re": "n d",
        "b_im": "n d", "c_re": "d n", "c_im": "d n", "skip": "1 d",
    }  # fmt: skip
    facts = Facts(
        "diagonal", state="2*n", flops="8*n*d+6*n", source="orvieto2023", eigenvalues="disc"
    )
    has_heads = False

    def tokens(self, u: Array) -> Tokens:
        constants = {name: getattr(self, name) for name in ("b_re", "b_im", "c_re", "c_im", "skip")}
        rate, angle, gamma = ops.exp(self.nu), ops.exp(self.theta), ops.exp(self.log_gamma)
        return Tokens(u=u, rate=rate, angle=angle, gamma=gamma, **constants)

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        B = tok.gamma * ops.as_complex(tok.b_re, tok.b_im)
        C = ops.as_complex(tok.c_re, tok.c_im)
        D = row(tok.skip) * ops.eye(tok.skip.shape[-1], tok.skip)
        A = Diag(log_a=ops.as_complex(-tok.rate, tok.angle))
        return LTV(A, ops.expand(B, -3), ops.expand(C, -3), D), col(tok.u)

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o)

    @classmethod
    def init(cls, rng: np.random.Generator, **given: Any) -> Any:  # type: ignore[override]
        mech = super().init(rng, **given)  # `nu` holds |lambda|^2
        rate, gain = np.log(-np.log(mech.nu) / 2), np.log1p(-mech.nu).T / 2
        return replace(mech, nu=rate, log_gamma=gain)
