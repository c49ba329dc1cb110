"""The in-context module (paper section 5.3): a small causal decoder that reads K examples before the request.

The sequence is r1 c1 l1 ... rK cK lK r: the representation of an example, its chain of thought, its label, ..., and
last the request's own representation. w, the feature that a ranker or retriever takes in, is the last hidden state.
Representations come from the caller's feature encoder, the same one for examples and requests.

Few examples are shown again and again (M << B*K), so whatever depends on an example alone is computed once for the
distinct ones (U rows) and then gathered by `slots`. Row 0 of U is always "no example".

Suffixes: B requests, K examples a request, U distinct examples + 1, T = 3K + 1 tokens, W width, E text width,
H heads, P head width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PER_EXAMPLE = 3  # r, c, l


@dataclass(frozen=True, slots=True, kw_only=True)
class IctConfig:
    width: int
    text_width: int
    layers: int = 2
    heads: int = 2
    hidden: int = 64  # of the SwiGLU
    text_hidden: int = 256  # of the text projection and the reconstruction head
    alpha: float = 1.0  # weight of the reconstruction loss; 0 leaves the head out
    use_similarity: bool = False  # add each example's similarity to its r token (recipe best)


class InContext(nn.Module):
    """w from a request's representation and its examples' tokens.

    Raises:
        ValueError: if the heads do not divide the width into even parts, which RoPE needs.
    """

    def __init__(self, config: IctConfig) -> None:
        super().__init__()
        if config.width % (2 * config.heads):
            raise ValueError(f"width {config.width} does not split into {config.heads} heads of even width")
        self.config = config
        self.text = nn.Sequential(
            nn.Linear(config.text_width, config.text_hidden), nn.ReLU(), nn.Linear(config.text_hidden, config.width)
        )
        self.label = nn.Embedding(2, config.width)
        self.no_example = nn.Parameter(torch.randn(config.width) * 0.02)
        self.similarity = nn.Linear(1, config.width) if config.use_similarity else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.reconstruct = nn.Sequential(
            nn.Linear(config.width, config.text_hidden), nn.ReLU(), nn.Linear(config.text_hidden, config.text_width)
        )

    def tokens(self, r_UW: Tensor, cot_UE: Tensor, label_U: Tensor) -> Tensor:
        """The r, c and l tokens of the distinct examples, (U, 3, W); row 0, whatever it held, is "no example"."""
        tokens_U3W = torch.stack([r_UW, self.text(cot_UE), self.label(label_U)], dim=1)
        none_13W = self.no_example.expand(1, _PER_EXAMPLE, -1)
        return torch.cat([none_13W, tokens_U3W[1:]])

    def forward(
        self, r_BW: Tensor, tokens_U3W: Tensor, slots_BK: Tensor, similarity_BK: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return w, (B, W), and the hidden states that predict each example's chain of thought, (B, K, W).

        `slots_BK` are rows of `tokens_U3W`; 0 is masked. `similarity_BK` is read where the configuration uses it.
        """
        count = slots_BK.shape[1]
        shown_BK3W = F.embedding(slots_BK, tokens_U3W.flatten(1)).unflatten(-1, (_PER_EXAMPLE, -1))
        if self.similarity is not None:
            assert similarity_BK is not None, "this configuration reads the similarity"
            r_BK1W = shown_BK3W[:, :, :1] + self.similarity(similarity_BK.unsqueeze(-1)).unsqueeze(2)
            shown_BK3W = torch.cat([r_BK1W, shown_BK3W[:, :, 1:]], dim=2)
        hidden_BTW = torch.cat([shown_BK3W.flatten(1, 2), r_BW.unsqueeze(1)], dim=1)
        mask_B1TT = attention_mask(slots_BK)
        for block in self.blocks:
            hidden_BTW = block(hidden_BTW, mask_B1TT)
        # Only the r tokens are read: each predicts the c token after it, the last one is w.
        out_BRW = self.norm(hidden_BTW[:, ::_PER_EXAMPLE])
        return out_BRW[:, count], out_BRW[:, :count]

    def reconstruction_loss(self, predict_BKW: Tensor, slots_BK: Tensor, cot_UE: Tensor) -> Tensor:
        """Mean of 1 - cos(prediction, raw frozen CoT vector) over the examples that are there; 0 if none is."""
        there = slots_BK > 0
        predicted_XE = self.reconstruct(predict_BKW[there])
        distance_X = 1 - F.cosine_similarity(predicted_XE, cot_UE[slots_BK[there]], dim=-1)
        return distance_X.sum() / max(len(distance_X), 1)


class Block(nn.Module):
    """Pre-norm attention with RoPE, then pre-norm SwiGLU."""

    def __init__(self, config: IctConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, width, bias=False)

    def forward(self, hidden_BTW: Tensor, mask_B1TT: Tensor) -> Tensor:
        """Return the new hidden states, (B, T, W)."""
        qkv_BTW = self.qkv(self.attention_norm(hidden_BTW))
        q_BHTP, k_BHTP, v_BHTP = qkv_BTW.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_BHTP = F.scaled_dot_product_attention(rotate(q_BHTP), rotate(k_BHTP), v_BHTP, attn_mask=mask_B1TT)
        hidden_BTW = hidden_BTW + self.out(mixed_BHTP.transpose(1, 2).flatten(2))
        gate_BTX, up_BTX = self.gate_up(self.mlp_norm(hidden_BTW)).chunk(2, dim=-1)
        return hidden_BTW + self.down(F.silu(gate_BTX) * up_BTX)


def attention_mask(slots_BK: Tensor) -> Tensor:
    """True where a token may look, (B, 1, T, T): itself, and earlier tokens that are not of a missing example."""
    there_BT = F.pad((slots_BK > 0).repeat_interleave(_PER_EXAMPLE, dim=1), (0, 1), value=True)
    length = there_BT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool).tril()
    return (causal_TT & there_BT[:, None, None, :]) | torch.eye(length, dtype=torch.bool)


def rotate(x_BHTP: Tensor) -> Tensor:
    """Rotary position embedding (arXiv:2104.09864), halves convention."""
    length, width = x_BHTP.shape[-2:]
    frequency_P = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angle_TP = torch.arange(length)[:, None] * frequency_P
    first, second = x_BHTP.chunk(2, dim=-1)
    return torch.cat(
        [first * angle_TP.cos() - second * angle_TP.sin(), second * angle_TP.cos() + first * angle_TP.sin()], dim=-1
    )
