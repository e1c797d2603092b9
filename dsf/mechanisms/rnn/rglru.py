from dsf.core.authoring import *


def _decay(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    a = rng.uniform(0.9, 0.999, shape) ** (1 / 8)
    return np.log(a) - np.log1p(-a)


class RGLRU(Recurrence, name="rglru", look=("sky", 1)):
    """RG-LRU.   h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t v_t,   y_t = h_t, per channel.

    Real-gated linear recurrent unit of Griffin: the write is tied to the decay.

    u [L d], channels p = d act as heads with one state each;  log_a [p L 1] = 8 r_t log a < 0,
    i [p L 1] in (0, 1);  float64.  Drawn with a^8 uniform in [0.9, 0.999].
    Source: De et al. 2024, arXiv 2402.19427.

    >>> import dsf
    >>> dsf.rglru.init(d=4)(np.ones((5, 4))).shape
    (5, 4)
    """

    decay: Array = drawn("d", _decay)  # a = sigmoid(decay)
    Wr: Array = weight("d d")
    Wi: Array = weight("d d")
    br: Array = zeros("d")
    bi: Array = zeros("d")

    equations = "a_t h_{t-1} + sqrt(1 - a_t^2) i_t v_t", "h_t"
    conventions = ("channels are heads",)
    spec = {"v": "p L 1", "log_a": "p L 1 < 0", "i": "p L 1 in (0, 1)"}
    facts = Facts("scalar", state="p", flops="5*p", source="de2024", eigenvalues="(0, 1)")

    def tokens(self, u: Array) -> Tokens:
        r = ops.sigmoid(u @ self.Wr + self.br)
        return Tokens(
            v=channels(u),
            log_a=channels(8 * r * ops.logsigmoid(self.decay)),
            i=channels(ops.sigmoid(u @ self.Wi + self.bi)),
        )

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        B = ops.sqrt(-ops.expm1(2 * tok.log_a)) * tok.i
        return LTV(Diag(log_a=tok.log_a), B=col(B), C=ops.ones((1, 1, 1), tok.v)), row(tok.v)
