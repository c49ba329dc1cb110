"""Knowledge distillation: the ranker also learns P(Yes) of the fine-tuned language model (METHOD section 8)."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def distillation_loss(logits_B: Tensor, teacher_B: Tensor) -> Tensor:
    """Mean cross-entropy to the teacher's probabilities over the rows that have one; NaN marks those that have none."""
    known_B = ~torch.isnan(teacher_B)
    each_B = binary_cross_entropy_with_logits(logits_B, teacher_B.nan_to_num(0.5), reduction="none")
    return (each_B * known_B).sum() / known_B.sum().clamp(min=1)
