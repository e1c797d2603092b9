from dsf.core.authoring import *


class S4D(Recurrence, name="s4d", look=("green", 0)):
    """S4D.   h_t = Abar h_{t-1} + Bbar x_t,   y_t = Re(C h_t) + D x_t, per channel, constant.

    Diagonal state space model: one complex time-invariant system per channel.

    u [L d], channels p = d act as heads;  a, b, c [p 1 n] complex with Re a < 0, dt [p 1 1] > 0.
    zoh:       Abar = e^{dt a},                    Bbar = (e^{dt a} - 1)/a b
    bilinear:  Abar = (1 + dt a/2)/(1 - dt a/2),   Bbar = dt b / (1 - dt a/2)
    y = Re(C h): conjugate pairs and their factor 2 belong to c.  float64 / complex128.
    S4D-Lin: a = -1/2 + i pi k, dt log-uniform in [1e-3, 1e-1], b = 1, c Gaussian.
    Source: Gu et al. 2022.

    >>> import dsf
    >>> dsf.s4d.init(d=3, n=2)(np.ones((5, 3))).shape
    (5, 3)
    """

    log_dt: Array = uniform("d 1 1", np.log(1e-3), np.log(1e-1))
    log_re: Array = fixed("d 1 n", lambda: np.log(0.5))  # Re a = -exp(log_re)
    a_im: Array = fixed("d 1 n", lambda n: np.pi * np.arange(n))
    b_re: Array = ones("d 1 n")
    b_im: Array = zeros("d 1 n")
    c_re: Array = normal("d 1 n")
    c_im: Array = normal("d 1 n")
    skip: Array = ones("d 1 1")
    discretisation: str = option("zoh", "bilinear")

    equations = "Abar h_{t-1} + Bbar x_t", "Re(C h_t) + D x_t"
    conventions = ("channels are heads",)
    spec = {
        "v": "p L 1", "dt": "p 1 1 > 0", "a_re": "p 1 n < 0", "a_im": "p 1 n", "b_re": "p 1 n",
        "b_im": "p 1 n", "c_re": "p 1 n", "c_im": "p 1 n", "skip": "p 1 1",
    }  # fmt: skip
    facts = Facts("diagonal", state="2*n*p", flops="14*n*p", source="gu2022", eigenvalues="disc")

    def tokens(self, u: Array) -> Tokens:
        constants = {name: getattr(self, name) for name in ("a_im", "b_re", "b_im", "c_re", "c_im")}
        a_re = -ops.exp(self.log_re)
        return Tokens(
            v=channels(u), dt=ops.exp(self.log_dt), a_re=a_re, skip=self.skip, **constants
        )

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        a, b = ops.as_complex(tok.a_re, tok.a_im), ops.as_complex(tok.b_re, tok.b_im)
        if self.discretisation == "zoh":
            A, B = Diag(log_a=tok.dt * a), tok.dt * ops.expm1_over(tok.dt * a) * b
        else:
            half = tok.dt * a / 2
            A, B = Diag(a=(1 + half) / (1 - half)), tok.dt * b / (1 - half)
        C = row(ops.as_complex(tok.c_re, tok.c_im))
        return LTV(A, col(B), C, col(tok.skip)), row(tok.v)

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o)
