"""Dropout whose mask costs little on every processor, and that of whole sets of examples."""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

_BITS = 16  # of randomness for each number
_WORD = 64 // _BITS  # numbers that one random word serves


class Dropout(nn.Module):
    """`torch.nn.Dropout`, its mask cut out of whole random words on a CPU.

    torch draws a Bernoulli variable for each number there, which takes longer than the product of the layer before it
    where its math library is slow at that, as on AMD. Other devices use torch's own.

    Args:
        share: of the numbers that training leaves out, in [0, 1); kept to 1 in 65,536.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a share of zeros, and the rest larger so that the mean stays; x itself where not training."""
        if not self.training or not self.share:
            return x
        if x.device.type != "cpu":
            return dropout(x, self.share)
        left_out = round(self.share * 2**_BITS)
        words = torch.empty(-(-x.numel() // _WORD), dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.int16)[: x.numel()].view(x.shape)  # uniform from -2^15 on
        kept = drawn >= left_out - 2 ** (_BITS - 1)
        return x * kept.to(x.dtype).mul_(2**_BITS / (2**_BITS - left_out))

    def extra_repr(self) -> str:
        return f"share={self.share}"


def drop_examples(examples_BK: Tensor, share: float) -> Tensor:
    """The numbers of examples, none (0) of them left in a random `share` of the rows."""
    return examples_BK.masked_fill(torch.rand(len(examples_BK), 1) < share, 0) if share else examples_BK
