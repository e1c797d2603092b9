from dsf.core.authoring import *


class GRU(Step, name="gru", look=("grey", 0)):
    """GRU.   h_t = (1 - z_t) h_{t-1} + z_t tanh(W u_t + U (r_t h_{t-1})): not affine in the state.

    Gated recurrent unit, the example that is *not* of the linear time-varying form.

    u [L d], state and output p;  gates z, r = sigmoid(x + h U);  float64.  `ltv` raises
    NotLinearError; `dsf.linearise` gives the Jacobians along a trajectory.
    Source: Cho et al. 2014, arXiv 1406.1078.

    >>> import dsf
    >>> dsf.gru.init(d=4, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wz: Array = weight("d p")
    Wr: Array = weight("d p")
    Wh: Array = weight("d p")
    Uz: Array = weight("p p")
    Ur: Array = weight("p p")
    Uh: Array = weight("p p")
    bz: Array = zeros("p")
    br: Array = zeros("p")
    bh: Array = zeros("p")

    equations = "(1 - z) h_{t-1} + z tanh(x + U (r h))", "h_t"
    spec = {"z": "L p", "r": "L p", "x": "L p", "Uz": "p p", "Ur": "p p", "Uh": "p p"}
    facts = Facts("nonlinear", contraction=False, state="p", flops="6*p*p", source="cho2014")
    has_heads = False

    def tokens(self, u: Array) -> Tokens:
        return Tokens(
            z=u @ self.Wz + self.bz,
            r=u @ self.Wr + self.br,
            x=u @ self.Wh + self.bh,
            Uz=self.Uz,
            Ur=self.Ur,
            Uh=self.Uh,
        )

    def step(self, h: Array | None, tok: Tokens) -> tuple[Array, Array]:
        h = ops.zeros_like(tok.x) if h is None else h
        z = ops.sigmoid(tok.z + h @ tok.Uz)
        r = ops.sigmoid(tok.r + h @ tok.Ur)
        h = (1 - z) * h + z * ops.tanh(tok.x + (r * h) @ tok.Uh)
        return ops.expand(h, -2), h

    def no_output(self, tok: Tokens) -> Array:
        return ops.expand(tok.x, -2)
