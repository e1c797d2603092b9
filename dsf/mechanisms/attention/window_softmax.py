from dsf.core.authoring import *
from dsf.mechanisms.attention.softmax import Softmax


class WindowSoftmax(Softmax, name="window_softmax", look=("black", 1)):
    """Window attention.   y_i = sum_{i-w<j<=i} w_ij v_j,   w_i = softmax_j(q_i' k_j / sqrt(n))

    Softmax attention over the last `width` tokens: a shift register of that many values.

    Source: Beltagy et al. 2020, arXiv 2004.05150.

    >>> import dsf
    >>> dsf.window_softmax(width=2).init(d=4, n=2, p=3).ltv(np.ones((5, 4))).n
    2
    """

    width: int = option(4, 1, least=1)

    update = "the last `width` of (S_{t-1}, v_t)"

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        return replace(
            super().facts, state="H*width*p", flops="2*H*width*(n+p)", source="beltagy2020",
            order_aware=self.width > 1,
        )  # fmt: skip

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.width - 1
