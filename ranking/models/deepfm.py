"""DeepFM (arXiv:1703.04247). Suffixes: B batch."""

from torch import Tensor, nn

from ranking.configs import DeepFmConfig
from ranking.layers import FirstOrder, Inputs, Mlp, Widths, pairwise_dot


class DeepFM(nn.Module):
    """logit = first-order weights + pairwise FM + deep tower, over shared embeddings.

    Added vectors, such as w of LLM-CF, join the first-order part and the tower, not the FM: they are no fields.
    """

    def __init__(self, widths: Widths, config: DeepFmConfig) -> None:
        super().__init__()
        self.first = FirstOrder(widths)
        self.tower = Mlp(widths.flat, config.tower, 1, config.dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        return self.first(inputs) + pairwise_dot(inputs.emb_BFD) + self.tower(inputs.flat()).squeeze(1)
