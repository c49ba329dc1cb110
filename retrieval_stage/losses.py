"""Softmax losses over the catalogue. Suffixes: X positions, C one slice of them, V items, D width, S sampled negatives.

Tables come without the rows of PAD and UNKNOWN, and targets are rows of what is left. Repeated rows are looked up with
F.embedding, whose gradient is the same bit for bit in every run; that of indexing is not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

_SLICE = 256  # positions whose scores over the whole catalogue are in memory at once
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def full_softmax(vector_XD: Tensor, item_VD: Tensor, target_X: Tensor, precision: str = "float32") -> Tensor:
    """Mean of -log softmax(vector . items)[target], over all items.

    The same value and gradients as `cross_entropy(vector_XD @ item_VD.T, target_X)`; the (X, V) scores never exist
    at once, which is twice as fast at 1,700 items and what makes 18,000 fit.

    Args:
        precision: of the products, one of `ict.config.PRECISIONS`; sums over them are float32. In bfloat16 gradients
            are off by about a hundredth of their length.
    """
    return _SlicedSoftmax.apply(vector_XD, item_VD, target_X, _DTYPES[precision])  # pyright: ignore[reportReturnType]


def sampled_softmax(
    vector_XD: Tensor, item_VD: Tensor, target_X: Tensor, negatives: int, generator: torch.Generator
) -> Tensor:
    """Mean of -log softmax over the target and `negatives` uniform items, drawn once a step for all positions.

    A negative that is the position's own target is left out.
    """
    drawn_S = torch.randint(len(item_VD), (negatives,), generator=generator)
    of_target_X1 = (vector_XD * F.embedding(target_X, item_VD)).sum(dim=1, keepdim=True)
    of_drawn_XS = (vector_XD @ F.embedding(drawn_S, item_VD).T).masked_fill(target_X[:, None] == drawn_S, -torch.inf)
    scores_XS = torch.cat([of_target_X1, of_drawn_XS], dim=1)
    return F.cross_entropy(scores_XS, torch.zeros_like(target_X))


class _SlicedSoftmax(torch.autograd.Function):
    """Takes the gradients in the forward pass, while a slice's scores are at hand."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, vector_XD: Tensor, item_VD: Tensor, target_X: Tensor, multiplied_in: torch.dtype
    ) -> Tensor:
        total = vector_XD.new_zeros(())
        to_vector_XD, to_item_VD = torch.empty_like(vector_XD), torch.zeros_like(item_VD)
        factor_XD, factor_VD = vector_XD.to(multiplied_in), item_VD.to(multiplied_in)
        for start in range(0, len(target_X), _SLICE):
            part = slice(start, start + _SLICE)
            factor_CD, target_C1 = factor_XD[part], target_X[part, None]
            score_CV = (factor_CD @ factor_VD.T).float()
            of_target_C1 = score_CV.gather(1, target_C1)
            top_C1 = score_CV.amax(dim=1, keepdim=True)
            error_CV = score_CV.sub_(top_C1).exp_()  # becomes softmax - one hot
            sum_C1 = error_CV.sum(dim=1, keepdim=True)
            total += (top_C1 + sum_C1.log() - of_target_C1).sum()
            error_CV.div_(sum_C1).scatter_add_(1, target_C1, -torch.ones_like(sum_C1))
            error_CV = error_CV.to(multiplied_in)
            to_vector_XD[part] = error_CV @ factor_VD
            if multiplied_in == torch.float32:
                to_item_VD.addmm_(error_CV.T, factor_CD)
            else:  # the sum over slices stays float32
                to_item_VD += error_CV.T @ factor_CD
        ctx.save_for_backward(to_vector_XD, to_item_VD)
        return total / len(target_X)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        to_vector_XD, to_item_VD = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        scale = grad / len(to_vector_XD)
        return to_vector_XD * scale, to_item_VD * scale, None, None
