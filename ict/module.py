"""The in-context module (paper section 5.3): a small causal decoder that reads K examples before the request.

The sequence is r1 c1 l1 ... rK cK lK r: the representation of an example, its chain of thought, its label, ..., and
last the request's own representation. w, the feature that a ranker or retriever takes in, is the last hidden state.
Representations come from the caller's feature encoder, the same one for examples and requests.

Few examples are shown again and again (M << B*K), so whatever depends on an example alone is computed once for the
distinct ones (U rows) and then gathered by `slots`. Row 0 of U is always "no example".

Suffixes: B requests, K examples a request, U distinct examples + 1, T = 3K + 1 tokens, R = K + 1 of them that are
read, S keys, W width, E text width, H heads, P head width.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ict.config import IctConfig
from ict.decoder import Block, Projection, causal_bias, rms_norm, rotation


class Reads(Protocol):
    """What reads in-context examples: `InContext`, or `Similarities` in its place."""

    config: IctConfig

    def texts(self, text_XE: Tensor) -> Tensor | None:
        """Text vectors as representations hold them, (X, W); None where they hold no texts."""
        ...

    def tokens(self, r_UW: Tensor, cot_UE: Tensor, label_U: Tensor) -> Tensor:
        """The tokens of the distinct examples, (U, tokens, width); row 0, whatever it held, is "no example"."""
        ...

    def __call__(
        self, r_BW: Tensor, tokens_UXW: Tensor, slots_BK: Tensor, similarity_BK: Tensor | None = None, /
    ) -> tuple[Tensor, Tensor]:
        """w, (B, W), and what predicts the chains of thought, (B, K, W), or nothing, (B, 0, W)."""
        ...

    def added_loss(self, predict_BKW: Tensor, slots_BK: Tensor, cot_UE: Tensor) -> Tensor:
        """What training adds to the loss of a task."""
        ...


class InContext(nn.Module):
    """w from a request's representation and its examples' tokens.

    Raises:
        ValueError: if the heads do not divide the width into even parts, which RoPE needs.
    """

    def __init__(self, config: IctConfig, *, width: int, text_width: int) -> None:
        super().__init__()
        if width % (2 * config.heads):
            raise ValueError(f"width {width} does not split into {config.heads} heads of even width")
        self.config = config
        if config.use_text or config.use_cot:
            self.text = Projection(text_width, config.text_hidden, width, config.precision)
        self.label = nn.Embedding(2, width)
        self.no_example = nn.Parameter(torch.randn(width) * 0.02)
        self.similarity = nn.Linear(1, width) if config.use_similarity else None
        self.gate = nn.Linear(width, width) if config.gate else None
        self.per_example = 3 if config.use_cot else 2
        decoder = config.pooling == "decoder"
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.hidden, config.precision) for _ in range(config.layers if decoder else 0)
        )
        self.reconstructs = decoder and config.use_cot and config.alpha > 0
        if self.reconstructs:
            self.reconstruct = Projection(width, config.text_hidden, text_width, config.precision)

    @property
    def _predicts(self) -> bool:
        return self.training and self.reconstructs

    def texts(self, text_XE: Tensor) -> Tensor | None:
        """The projected texts of items or histories, (X, W); None in a configuration without."""
        return self.text(text_XE) if self.config.use_text else None

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
        """Return w, (B, W), and the hidden states that predict each example's chain of thought, (B, K, W); none of
        these, (B, 0, W), where nothing is reconstructed, or when scoring.

        `slots_BK` are rows of `tokens_U3W`; 0 is masked. `similarity_BK` is read where the configuration uses it.
        """
        hidden_BTW = self._sequence(r_BW, tokens_U3W, slots_BK, similarity_BK)
        if not self.blocks:
            w_BW = self._mean(hidden_BTW, slots_BK)
            return self._gated(w_BW, r_BW), hidden_BTW[:, :0]
        bias_B1TS = causal_bias(there(slots_BK, self.per_example))
        length, width = hidden_BTW.shape[1:]
        heads = self.config.heads
        turn_2THP = rotation(length, heads, width // heads, hidden_BTW.device)
        for block in self.blocks[:-1]:
            hidden_BTW = block(hidden_BTW, bias_B1TS, turn_2THP)
        # Only r tokens are read: in training each predicts the c token after it, and the last is w.
        read = slice(None, None, self.per_example) if self._predicts else slice(-1, None)
        out_BRW = rms_norm(self.blocks[-1](hidden_BTW, bias_B1TS, turn_2THP, read))
        return self._gated(out_BRW[:, -1], r_BW), out_BRW[:, :-1]

    def added_loss(self, predict_BKW: Tensor, slots_BK: Tensor, cot_UE: Tensor) -> Tensor:
        """alpha times the reconstruction loss; 0 when scoring, or where nothing is reconstructed."""
        if not self._predicts:
            return torch.zeros(())
        return self.config.alpha * self.reconstruction_loss(predict_BKW, slots_BK, cot_UE)

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


class Similarities(nn.Module):
    """What is left of the module without a decoder: w is linear in how near the examples of each label are.

    A yardstick: what the module gains over this it gains by reading its examples.
    """

    def __init__(self, config: IctConfig, *, width: int, text_width: int) -> None:  # noqa: ARG002 - as of InContext
        super().__init__()
        self.config = config
        self.nearest = 4  # similarities of each label that are read, largest first
        self.out = nn.Linear(2 * self.nearest, width)

    def texts(self, text_XE: Tensor) -> Tensor | None:  # noqa: ARG002 - it reads none
        """None."""
        return None

    def added_loss(self, predict_BKW: Tensor, slots_BK: Tensor, cot_UE: Tensor) -> Tensor:  # noqa: ARG002 - there is none
        """0."""
        return torch.zeros(())

    def tokens(self, r_UW: Tensor, cot_UE: Tensor, label_U: Tensor) -> Tensor:  # noqa: ARG002 - as of InContext
        """The labels of the distinct examples, one-hot, (U, 1, 2); row 0 has none."""
        label_U2 = F.one_hot(label_U, 2).float()
        return F.pad(label_U2[1:], (0, 0, 1, 0)).unsqueeze(1)

    def forward(
        self, r_BW: Tensor, tokens_U12: Tensor, slots_BK: Tensor, similarity_BK: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return w, (B, W), and no predictions, (B, 0, W)."""
        assert similarity_BK is not None, "this configuration reads the similarity"
        of_label_BK2 = F.embedding(slots_BK, tokens_U12.squeeze(1)) * similarity_BK.unsqueeze(2)
        room = max(0, self.nearest - slots_BK.shape[1])
        nearest_BX2 = F.pad(of_label_BK2, (0, 0, 0, room)).topk(self.nearest, dim=1).values
        return self.out(nearest_BX2.flatten(1)), r_BW[:, None][:, :0]


def distinct(ids_BK: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct numbers of a batch in order, 0 among them even if unused, and where each stands among them.

    By a mark for each possible number, which is faster than to sort.
    """
    there_N = torch.zeros(int(ids_BK.max()) + 1 if ids_BK.numel() else 1, dtype=torch.bool, device=ids_BK.device)
    there_N[ids_BK.flatten()] = True
    there_N[0] = True
    return there_N.nonzero().squeeze(1), (there_N.cumsum(dim=0) - 1)[ids_BK]


def there(slots_BK: Tensor, per_example: int) -> Tensor:
    """True for a token that is not of a missing example, (B, T); the request's own is always there."""
    return F.pad((slots_BK > 0).repeat_interleave(per_example, dim=1), (0, 1), value=True)
