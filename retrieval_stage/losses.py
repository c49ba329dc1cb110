"""Softmax losses over the catalogue. Suffixes: X positions, C one slice of them, V items, W one block of them, D width,
S sampled negatives.

Tables come without the rows of PAD and UNKNOWN, and targets are rows of what is left. Repeated rows are looked up with
F.embedding, whose gradient is the same bit for bit in every run; that of indexing is not. On a CPU, index_add_ adds in
the order of its index.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

_SLICE = 256  # positions whose scores over the whole catalogue are in memory at once
_BLOCK = 1024  # items of one product: its factors, and what it gives, stay in a core's cache
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def full_softmax(vector_XD: Tensor, item_VD: Tensor, target_X: Tensor, precision: str = "float32") -> Tensor:
    """Mean of -log softmax(vector . items)[target], over all items.

    The same value and gradients as `cross_entropy(vector_XD @ item_VD.T, target_X)`; the (X, V) scores never exist
    at once, which is what makes 18,000 items fit, and the faster the more items there are.

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
        of_target_XD = F.embedding(target_X, item_VD)
        to_vector_XD, to_item_VD = -of_target_XD, torch.zeros_like(item_VD).index_add_(0, target_X, -vector_XD)
        blocks = list(zip(item_VD.to(multiplied_in).split(_BLOCK), to_item_VD.split(_BLOCK), strict=True))
        for start in range(0, len(target_X), _SLICE):
            part = slice(start, start + _SLICE)
            vector_CD = vector_XD[part]
            factor_CD = vector_CD.to(multiplied_in)
            scores = [(factor_CD @ item_WD.T).float() for item_WD, _ in blocks]
            top_C = torch.stack([score_CW.amax(dim=1) for score_CW in scores]).amax(dim=0)
            raised = [score_CW.sub_(top_C[:, None]).exp_() for score_CW in scores]
            sum_C = torch.stack([raised_CW.sum(dim=1) for raised_CW in raised]).sum(dim=0)
            total += (top_C + sum_C.log() - (vector_CD * of_target_XD[part]).sum(dim=1)).sum()
            shared_CD = (vector_CD / sum_C[:, None]).to(multiplied_in)
            pulled_CD = torch.zeros_like(vector_CD)  # softmax @ items, times its denominator
            for raised_CW, (item_WD, to_item_WD) in zip(raised, blocks, strict=True):
                _add_product(pulled_CD, raised_CW, item_WD)
                _add_product(to_item_WD, raised_CW.T, shared_CD)
            to_vector_XD[part] += pulled_CD / sum_C[:, None]
        ctx.save_for_backward(to_vector_XD, to_item_VD)
        return total / len(target_X)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        to_vector_XD, to_item_VD = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        scale = grad / len(to_vector_XD)
        return to_vector_XD * scale, to_item_VD * scale, None, None


def _add_product(to_YD: Tensor, left_YZ: Tensor, right_ZD: Tensor) -> None:
    """Add left @ right in place: multiplied in the type of `right`, added up in float32."""
    if right_ZD.dtype == torch.float32:
        to_YD.addmm_(left_YZ, right_ZD)
    else:
        to_YD += left_YZ.to(right_ZD.dtype) @ right_ZD
