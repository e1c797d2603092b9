from dsf.core.authoring import *


class MLSTM(Recurrence, name="mlstm", look=("vermillion", 2)):
    """mLSTM.   S_t = f_t S_{t-1} + i_t k_t (v_t, 1)', normalised by max(|last|, 1) and gated.

    Matrix LSTM: scalar forget gate, exponential input gate, normaliser bounded below by 1.

        (z_t, eta_t) = S_t' q_t,    y_t = gate_t * z_t / max(|eta_t|, 1)

    u [L d];  q, k [H L n], v, gate [H L p], i [H L 1] = exp(.) > 0, log_f [H L 1] < 0, k scaled by
    1/sqrt(n);  float64.  Without the log-max stabiliser.  As published, the forget bias is linear
    in the head from 3 to 6, and input gates start small.
    Source: Beck et al. 2024, arXiv 2405.04517.

    >>> import dsf
    >>> dsf.mlstm.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    Wi: Array = weight("H d 1")
    Wf: Array = weight("H d 1")
    Wo: Array = weight("H d p")
    bi: Array = normal("H 1 1", 0.1)
    bf: Array = fixed("H 1 1", lambda H: np.linspace(3.0, 6.0, H).reshape(H, 1, 1))

    equations = "f_t S_{t-1} + i_t k_t (v_t, 1)'", "gate z_t / max(|eta_t|, 1)"
    conventions = ("k / sqrt(n)",)
    spec = {
        "q": "L n", "k": "L n", "v": "L p", "i": "L 1 > 0", "log_f": "L 1 < 0",
        "gate": "L p in (0, 1)",
    }  # fmt: skip
    facts = Facts(
        "scalar", state="H*n*(p+1)", flops="5*H*n*(p+1)", source="beck2024", eigenvalues="(0, 1)"
    )

    def tokens(self, u: Array) -> Tokens:
        q, k, v = (project(u, W) for W in (self.Wq, self.Wk, self.Wv))
        return Tokens(
            q=q,
            k=k / ops.sqrt(ops.const(k.shape[-1], u)),
            v=v,
            i=ops.exp(project(u, self.Wi) + self.bi),
            log_f=ops.logsigmoid(project(u, self.Wf) + self.bf),
            gate=ops.sigmoid(project(u, self.Wo)),
        )

    def recurrence(self, tok: Tokens) -> tuple[LTV, Array]:
        v = ops.cat([tok.v, ops.ones_like(tok.v[..., :1])])
        return LTV(Diag(log_a=tok.log_f), B=col(tok.i * tok.k), C=row(tok.q)), row(v)

    def normaliser(self, o: Array, tok: Tokens) -> Array:
        return ops.maximum(ops.absolute(o[..., -1:]), ops.ones_like(o[..., -1:]))

    def readout(self, o: Array, tok: Tokens) -> Array:
        return super().readout(o, tok) * row(tok.gate)
