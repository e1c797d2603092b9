from dsf.core.authoring import *


class Mamba3(Recurrence, name="mamba3", look=("blue", 2)):
    """Mamba-3: writes from two tokens (trapezoidal rule), complex data-dependent decay.

    Mamba-3 with one input and one output per head.

        S_t = A_t S_{t-1} + (1 - lam_t) dt_t A_t k_{t-1} v_{t-1}' + lam_t dt_t k_t v_t'
        y_t = Re(S_t' q_t),    A_t = e^{dt_t (a_t + i theta_t)}

    u [L d];  q, k [H L n] (n/2 complex pairs), v [H L p], dt [H L 1] > 0, a [H L 1] < 0,
    lam [H L 1] in (0, 1), theta [H L n/2];  y = Re(q' S) + D v;  float64 / complex128.
    q and k are RMS-normalised and get a bias.
    `skip=True` adds the published D v_t.  Source: Mamba-3, arXiv 2603.15569.

    >>> import dsf
    >>> dsf.mamba3.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    Wdt: Array = weight("H d 1")
    Wa: Array = weight("H d 1")
    Wl: Array = weight("H d 1")
    Wt: Array = weight("H d n/2")
    q_bias: Array = ones("H 1 n")
    k_bias: Array = ones("H 1 n")
    dt_bias: Array = step_size("H 1 1")
    D: Array = ones("H 1 1")
    skip: bool = option(False, True)

    equations = "A_t S_{t-1} + two writes (t-1 and t)", "Re(S_t' q_t)"
    conventions = "q, k RMS-normalised", "n/2 complex pairs"
    spec = {
        "q": "L n", "k": "L n", "v": "L p", "dt": "L 1 > 0", "a": "L 1 < 0",
        "lam": "L 1 in (0, 1)", "theta": "L n/2", "skip": "1 1 if skip",
    }  # fmt: skip
    facts = Facts("diagonal", True, "H*n*p", "9*H*n*p", source="mamba3", eigenvalues="disc")
    lookback = 1

    def tokens(self, u: Array) -> Tokens:
        x = project(u, self.Wa)
        return Tokens(
            q=_rms_norm(project(u, self.Wq)) + self.q_bias,
            k=_rms_norm(project(u, self.Wk)) + self.k_bias,
            v=project(u, self.Wv),
            dt=ops.softplus(project(u, self.Wdt) + self.dt_bias),
            a=-ops.where_positive(x, 1 + x, 1 / (1 + ops.absolute(x))),
            lam=ops.sigmoid(project(u, self.Wl)),
            theta=ops.pi(u) * ops.tanh(project(u, self.Wt)),
            skip=self.D if self.skip else None,
        )

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        k, before = (ops.conj(as_pairs(t.k)) for t in (tok, tok.previous))
        dt, lam = tok.dt, tok.lam
        log_a = ops.as_complex(dt * tok.a, dt * tok.theta)
        B = ops.stack([(1 - lam) * dt * ops.exp(log_a) * before, lam * dt * k], -1)
        X = ops.cat([row(tok.previous.v), row(tok.v)], -2)
        D = ops.cat([ops.zeros_like(col(tok.skip)), col(tok.skip)]) if self.skip else None
        return LTV(Diag(log_a=log_a), B, row(as_pairs(tok.q)), D), X

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o)


def _rms_norm(x: Array) -> Array:
    return ops.sqrt(ops.const(x.shape[-1], x)) * ops.normalise(x)
