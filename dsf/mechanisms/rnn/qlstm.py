from dsf.core.authoring import *


class QLSTM(Recurrence, name="qlstm", look=("sky", 2)):
    """qLSTM.   h_t = f_t h_{t-1} + g_t v_t,   y_t = o_t h_t, per channel, gates from the token only

    Quasi-LSTM: an LSTM without state feedback in its gates; n is always 1.

    u [L d], channels p act as heads with one state each;  log_f [p L 1] < 0, g, o in (0, 1).
    original: f = sigmoid(x);   `reversed=True`: f = sigmoid(-x)^alpha, alpha >= 0 learned, which
    is e^{-alpha softplus(x)};  float64.  Source: Sieber et al. 2024, arXiv 2405.15731, eq. (22).

    >>> import dsf
    >>> dsf.qlstm.init(d=4, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wv: Array = weight("d p")
    Wf: Array = weight("d p")
    Wg: Array = weight("d p")
    Wo: Array = weight("d p")
    bf: Array = zeros("p")
    bg: Array = zeros("p")
    bo: Array = zeros("p")
    alpha: Array = ones("1")
    reversed: bool = option(False, True)

    equations = "f_t h_{t-1} + g_t v_t", "o_t h_t"
    conventions = ("channels are heads",)
    spec = {"v": "p L 1", "log_f": "p L 1 < 0", "g": "p L 1 in (0, 1)", "o": "p L 1 in (0, 1)"}
    facts = Facts("scalar", state="p", flops="5*p", source="sieber2024", eigenvalues="(0, 1)")

    def tokens(self, u: Array) -> Tokens:
        x = u @ self.Wf + self.bf
        log_f = -self.alpha * ops.softplus(x) if self.reversed else ops.logsigmoid(x)
        return Tokens(
            v=channels(u @ self.Wv),
            log_f=channels(log_f),
            g=channels(ops.sigmoid(u @ self.Wg + self.bg)),
            o=channels(ops.sigmoid(u @ self.Wo + self.bo)),
        )

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        return LTV(Diag(log_a=tok.log_f), B=col(tok.g), C=row(tok.o)), row(tok.v)
