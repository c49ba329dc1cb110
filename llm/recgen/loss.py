"""The loss of fine-tuning: the responses only, and what NEFTune and R3F add.

Suffixes: B sequences, T tokens, D width, R response tokens of the batch, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -100  # the label of a token that carries no loss
PADDING = -1  # the branch of a token after the end of its sample
_R3F_NOISE = 1e-5  # the paper's, arXiv:2008.03156, section 3


class ResponseLoss(nn.Module):
    """Wraps a causal language model; the head is computed at response tokens alone, which saves most of its cost.

    Each response counts the same, however long: a Yes weighs as much as a page of general text. A sample may have
    several branches, a history with two targets for one; a branch sees what is shared and itself.
    """

    def __init__(self, model: Any, *, noise: float = 0.0, consistency: float = 0.0) -> None:
        super().__init__()
        self.model, self.noise, self.consistency = model, noise, consistency

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, branch: Tensor, labels: Tensor, weights: Tensor, seed: int
    ) -> Tensor:
        """Cross-entropy of the response tokens, the mean of a response, summed over the responses of a sample.

        Args:
            input_ids, position_ids, labels, weights: (B, T); labels are IGNORED outside of responses, a weight is one
                over the length of its response.
            branch: (B, T), 0 for what all branches of a sample share, then their numbers, PADDING after the end.
            seed: of this step's noise.
        """
        target_BT = labels[:, 1:]
        place_BT = target_BT != IGNORED
        target_R, weight_R = target_BT[place_BT], weights[:, 1:][place_BT] / len(labels)
        emb_BTD = self.model.get_input_embeddings()(input_ids)
        random = torch.Generator(emb_BTD.device).manual_seed(seed)
        if self.noise:
            emb_BTD = emb_BTD + _neft(emb_BTD, branch != PADDING, self.noise, random)
        seen = (position_ids, visible(branch), place_BT)
        logits_RV = self._logits(emb_BTD, *seen)
        loss = (F.cross_entropy(logits_RV, target_R, reduction="none") * weight_R).sum()
        if self.consistency:
            shift_BTD = torch.empty_like(emb_BTD).uniform_(-_R3F_NOISE, _R3F_NOISE, generator=random)
            noised_RV = self._logits(emb_BTD + shift_BTD, *seen)
            loss = loss + self.consistency * (_symmetric_kl(logits_RV, noised_RV) * weight_R).sum()
        return loss

    def _logits(self, emb_BTD: Tensor, position_BT: Tensor, visible_B1TT: Tensor, place_BT: Tensor) -> Tensor:
        hidden_BTD = self.model.get_decoder()(
            inputs_embeds=emb_BTD, position_ids=position_BT, attention_mask=visible_B1TT, use_cache=False
        ).last_hidden_state
        return self.model.get_output_embeddings()(hidden_BTD[:, :-1][place_BT]).float()


def visible(branch_BT: Tensor) -> Tensor:
    """Where each token may look, (B, 1, T, T): back at what is shared and at its own branch."""
    length = branch_BT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool, device=branch_BT.device).tril()
    shared_BT = branch_BT[:, None, :] == 0
    own_BTT = branch_BT[:, :, None] == branch_BT[:, None, :]
    return (causal_TT & (shared_BT | own_BTT))[:, None]


def _neft(emb_BTD: Tensor, there_BT: Tensor, alpha: float, random: torch.Generator) -> Tensor:
    size_B = (there_BT.sum(dim=1) * emb_BTD.shape[-1]).to(emb_BTD.dtype)
    noise_BTD = torch.empty_like(emb_BTD).uniform_(-1, 1, generator=random)
    return noise_BTD * (alpha / size_B.sqrt())[:, None, None] * there_BT[:, :, None]


def _symmetric_kl(first_RV: Tensor, second_RV: Tensor) -> Tensor:
    """KL(p, q) + KL(q, p) of each token, (R,)."""
    p_RV, q_RV = first_RV.log_softmax(dim=-1), second_RV.log_softmax(dim=-1)
    return ((p_RV.exp() - q_RV.exp()) * (p_RV - q_RV)).sum(dim=-1)
