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

from core.errors import check_choice

POOLINGS = ("decoder", "mean")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class IctConfig:
    width: int
    text_width: int
    layers: int = 2
    heads: int = 2
    hidden: int = 64  # of the SwiGLU
    text_hidden: int = 256  # of the text projection and the reconstruction head
    alpha: float = 1.0  # weight of the reconstruction loss
    use_text: bool = True  # representations hold the texts of the item and of the history
    use_cot: bool = True  # otherwise an example is r and l alone, and nothing is reconstructed
    pooling: str = "decoder"  # or mean: w is the mean of all tokens, and nothing is reconstructed
    precision: str = "float32"  # of the products with text vectors in training
    gate: bool = False  # w is multiplied by a learned gate of r
    predictions: int = 512  # of a batch, that the reconstruction loss averages over: an unbiased sample of all
    use_similarity: bool = False  # add each example's similarity to its r token (recipe best)


class InContext(nn.Module):
    """w from a request's representation and its examples' tokens.

    Raises:
        ValueError: if the heads do not divide the width into even parts, which RoPE needs.
    """

    def __init__(self, config: IctConfig) -> None:
        super().__init__()
        check_choice("pooling", config.pooling, POOLINGS)
        if config.width % (2 * config.heads):
            raise ValueError(f"width {config.width} does not split into {config.heads} heads of even width")
        self.config = config
        if config.use_text or config.use_cot:
            self.text = Projection(config.text_width, config.text_hidden, config.width, config.precision)
        self.label = nn.Embedding(2, config.width)
        self.no_example = nn.Parameter(torch.randn(config.width) * 0.02)
        self.similarity = nn.Linear(1, config.width) if config.use_similarity else None
        self.gate = nn.Linear(config.width, config.width) if config.gate else None
        self.per_example = 3 if config.use_cot else 2
        decoder = config.pooling == "decoder"
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers if decoder else 0))
        self.reconstructs = decoder and config.use_cot and config.alpha > 0
        if self.reconstructs:
            self.reconstruct = Projection(config.width, config.text_hidden, config.text_width, config.precision)

    def tokens(self, r_UW: Tensor, cot_UE: Tensor, label_U: Tensor) -> Tensor:
        """The r, c and l tokens of the distinct examples, (U, 3, W); row 0, whatever it held, is "no example".

        Without chains of thought there are two tokens an example, r and l.
        """
        parts = [r_UW, self.text(cot_UE), self.label(label_U)] if self.config.use_cot else [r_UW, self.label(label_U)]
        tokens_U3W = torch.stack(parts, dim=1)
        none_13W = self.no_example.expand(1, self.per_example, -1)
        return torch.cat([none_13W, tokens_U3W[1:]])

    def forward(
        self, r_BW: Tensor, tokens_U3W: Tensor, slots_BK: Tensor, similarity_BK: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return w, (B, W), and the hidden states that predict each example's chain of thought, (B, K, W).

        `slots_BK` are rows of `tokens_U3W`; 0 is masked. `similarity_BK` is read where the configuration uses it.
        """
        hidden_BTW = self._sequence(r_BW, tokens_U3W, slots_BK, similarity_BK)
        if not self.blocks:
            w_BW = self._mean(hidden_BTW, slots_BK)
            return self._gated(w_BW, r_BW), hidden_BTW[:, :0]
        mask_B1TT = attention_mask(slots_BK, self.per_example)
        turn_2TP = rotation(hidden_BTW.shape[1], self.config.width // self.config.heads)
        for block in self.blocks[:-1]:
            hidden_BTW = block(hidden_BTW, mask_B1TT, turn_2TP)
        # Only r tokens are read: each predicts the c token after it, and the last is w.
        out_BRW = rms_norm(self.blocks[-1](hidden_BTW, mask_B1TT, turn_2TP, every=self.per_example))
        return self._gated(out_BRW[:, -1], r_BW), out_BRW[:, :-1]

    def reconstruction_loss(self, predict_BKW: Tensor, slots_BK: Tensor, cot_UE: Tensor) -> Tensor:
        """Mean of 1 - cos(prediction, raw frozen CoT vector) over the examples that are there; 0 if none is.

        Averages over the first rows of the batch only, as many as make `predictions`: batches come shuffled, and the
        head costs more than the decoder.
        """
        rows = max(1, self.config.predictions // max(slots_BK.shape[1], 1))
        slots_BK, predict_BKW = slots_BK[:rows], predict_BKW[:rows]
        there_BK = slots_BK > 0
        predicted_XE = self.reconstruct(predict_BKW[there_BK])
        cosine_X = F.cosine_similarity(predicted_XE, cot_UE[slots_BK[there_BK]], dim=-1)
        return (1 - cosine_X).sum() / max(len(cosine_X), 1)

    def _sequence(self, r_BW: Tensor, tokens_U3W: Tensor, slots_BK: Tensor, similarity_BK: Tensor | None) -> Tensor:
        """r1 c1 l1 ... rK cK lK r, (B, T, W)."""
        shown_BKX = F.embedding(slots_BK, tokens_U3W.flatten(1))
        if self.similarity is not None:
            assert similarity_BK is not None, "this configuration reads the similarity"
            added_BKW = self.similarity(similarity_BK.unsqueeze(-1))
            shown_BKX = shown_BKX + F.pad(added_BKW, (0, shown_BKX.shape[-1] - added_BKW.shape[-1]))
        return torch.cat([shown_BKX.unflatten(-1, (self.per_example, -1)).flatten(1, 2), r_BW.unsqueeze(1)], dim=1)

    def _mean(self, hidden_BTW: Tensor, slots_BK: Tensor) -> Tensor:
        """The normed mean of the tokens that are there, (B, W)."""
        there_BT1 = there(slots_BK, self.per_example).unsqueeze(2)
        return rms_norm((hidden_BTW * there_BT1).sum(dim=1) / there_BT1.sum(dim=1))

    def _gated(self, w_BW: Tensor, r_BW: Tensor) -> Tensor:
        return w_BW if self.gate is None else w_BW * self.gate(r_BW).sigmoid()


class Projection(nn.Sequential):
    """Two layers to or from the width of text vectors, which are most of a step's arithmetic.

    In bfloat16 training is three times as fast on processors that have it, and slower on others; what is scored,
    exported and served is float32.
    """

    def __init__(self, width: int, hidden: int, out: int, precision: str) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
        self.in_bfloat16 = check_choice("precision", precision, PRECISIONS) == "bfloat16"

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.in_bfloat16):
            return super().forward(input)
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(input).float()


class Block(nn.Module):
    """Pre-norm attention with RoPE, then pre-norm SwiGLU. The norms have no gain: the next matrix absorbs it."""

    def __init__(self, config: IctConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, width, bias=False)

    def forward(self, hidden_BTW: Tensor, mask_B1TT: Tensor, turn_2TP: Tensor, every: int = 1) -> Tensor:
        """Return the new hidden states of every `every`-th token from the first on, (B, R, W)."""
        normed_BTW = rms_norm(hidden_BTW)
        q_BRHP = self.query(normed_BTW[:, ::every]).unflatten(-1, (self.heads, -1))
        k_BTHP, v_BTHP = self.key_value(normed_BTW).unflatten(-1, (2, self.heads, -1)).unbind(2)
        mixed_BHRP = F.scaled_dot_product_attention(
            rotate(q_BRHP, turn_2TP[:, ::every]).transpose(1, 2),
            rotate(k_BTHP, turn_2TP).transpose(1, 2),
            v_BTHP.transpose(1, 2),
            attn_mask=mask_B1TT[:, :, ::every],
        )
        hidden_BRW = hidden_BTW[:, ::every] + self.mix(mixed_BHRP.transpose(1, 2).flatten(2))
        gate_BRY, up_BRY = self.gate_up(rms_norm(hidden_BRW)).chunk(2, dim=-1)
        return hidden_BRW + self.down(F.silu(gate_BRY) * up_BRY)


def distinct(examples_BK: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct example numbers of a batch, 0 first, and where each request's examples stand among them."""
    ids_U, slots_X = torch.unique(F.pad(examples_BK.flatten(), (1, 0)), return_inverse=True)
    return ids_U, slots_X[1:].view_as(examples_BK)


def there(slots_BK: Tensor, per_example: int) -> Tensor:
    """True for a token that is not of a missing example, (B, T); the request's own is always there."""
    return F.pad((slots_BK > 0).repeat_interleave(per_example, dim=1), (0, 1), value=True)


def attention_mask(slots_BK: Tensor, per_example: int = 3) -> Tensor:
    """True where a token may look, (B, 1, T, T): itself, and earlier tokens that are not of a missing example."""
    there_BT = there(slots_BK, per_example)
    length = there_BT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool).tril()
    return (causal_TT & there_BT[:, None, None, :]) | torch.eye(length, dtype=torch.bool)


def rms_norm(x_BTW: Tensor) -> Tensor:
    """Scale every vector to a root mean square of 1."""
    return x_BTW * ((x_BTW * x_BTW).mean(dim=-1, keepdim=True) + 1e-6).rsqrt()


def rotation(length: int, width: int) -> Tensor:
    """Cosines and signed sines of rotary position embedding (arXiv:2104.09864), (2, T, P)."""
    angle_TP = torch.arange(length)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    cos_TP, sin_TP = angle_TP.cos(), angle_TP.sin()
    return torch.stack([torch.cat([cos_TP, cos_TP], dim=-1), torch.cat([-sin_TP, sin_TP], dim=-1)])


def rotate(x_BTHP: Tensor, turn_2TP: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + P/2}) by its position's angle."""
    cos_TP, sin_TP = turn_2TP.unsqueeze(2)
    return torch.addcmul(x_BTHP * cos_TP, x_BTHP.roll(x_BTHP.shape[-1] // 2, dims=-1), sin_TP)
