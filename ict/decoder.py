"""A causal transformer decoder of short sequences: pre-norm attention with RoPE, pre-norm SwiGLU.

Made for thousands of sequences of some ten tokens on a CPU, where a general attention kernel spends its time on set-up:
two batched products and a softmax are twice as fast, once the keys are padded to a multiple of sixteen.

Suffixes: B sequences, T tokens, S keys (T padded), R tokens that are read, W width, H heads, P head width, Y hidden
width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, NestedIOFunction

from core.errors import check_choice
from ict.config import PRECISIONS

_ALL = slice(None)
_LANES = 16  # softmax over rows of another length is ten times slower


class Linear(nn.Linear):
    """A linear layer that may multiply in bfloat16 in training; what is scored, exported and served is float32.

    Several times as fast on processors that have such products, and slower on others.
    """

    def __init__(self, width: int, out: int, precision: str, *, bias: bool = True) -> None:
        super().__init__(width, out, bias=bias)
        self.in_bfloat16 = check_choice("precision", precision, PRECISIONS) == "bfloat16"

    def operand(self, input: Tensor) -> Tensor:
        """The input as it is multiplied; made once for several layers that read the same."""
        return input.bfloat16() if self.training and self.in_bfloat16 else input

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs in the precision of the product."""
        if not (self.training and self.in_bfloat16):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.bfloat16()
        return F.linear(self.operand(input), self.weight.bfloat16(), bias)


class Projection(nn.Sequential):
    """Two linear layers with ReLU between them."""

    def __init__(self, width: int, hidden: int, out: int, precision: str) -> None:
        super().__init__(Linear(width, hidden, precision), nn.ReLU(), Linear(hidden, out, precision))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).float()


class Block(nn.Module):
    """One layer of the decoder. The norms have no gain: the next matrix absorbs it."""

    def __init__(self, width: int, heads: int, hidden: int, precision: str) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.mix = (Linear(width, width, precision, bias=False) for _ in range(4))
        self.gate, self.up = (Linear(width, hidden, precision, bias=False) for _ in range(2))
        self.down = Linear(hidden, width, precision, bias=False)

    def forward(self, hidden_BTW: Tensor, bias_B1TS: Tensor, turn_2THP: Tensor, read: slice = _ALL) -> Tensor:
        """Return the new hidden states of the tokens that are read, (B, R, W)."""
        normed_BTW = self.query.operand(rms_norm(hidden_BTW))
        q_BRHP, k_BTHP, v_BTHP = (
            layer(part).float().unflatten(-1, (self.heads, -1))
            for layer, part in (
                (self.query, normed_BTW[:, read]),
                (self.key, normed_BTW),
                (self.value, normed_BTW),
            )
        )
        mixed_BRW = attention(
            rotate(q_BRHP, turn_2THP[:, read]), rotate(k_BTHP, turn_2THP), v_BTHP, bias_B1TS[:, :, read]
        )
        hidden_BRW = hidden_BTW[:, read] + self.mix(mixed_BRW).float()
        normed_BRW = self.gate.operand(rms_norm(hidden_BRW))
        return hidden_BRW + self.down(F.silu(self.gate(normed_BRW)) * self.up(normed_BRW)).float()


def attention(q_BRHP: Tensor, k_BTHP: Tensor, v_BTHP: Tensor, bias_B1RS: Tensor) -> Tensor:
    """softmax(q k / sqrt(P) + bias) v of each head, the heads side by side, (B, R, W)."""
    padding = (0, 0, 0, bias_B1RS.shape[-1] - k_BTHP.shape[1])
    k_BHSP, v_BHSP = (F.pad(part.transpose(1, 2), padding) for part in (k_BTHP, v_BTHP))
    score_BHRS = q_BRHP.transpose(1, 2) @ k_BHSP.transpose(2, 3)
    weight_BHRS = torch.add(bias_B1RS, score_BHRS, alpha=q_BRHP.shape[-1] ** -0.5).softmax(dim=-1)
    return (weight_BHRS @ v_BHSP).transpose(1, 2).flatten(2)


def causal_bias(there_BT: Tensor) -> Tensor:
    """What `attention` adds, (B, 1, T, S): 0 where a token may look, minus infinity elsewhere.

    A token looks at itself and at earlier tokens that are there.
    """
    length = there_BT.shape[1]
    padded = length + -length % _LANES
    there_BS = F.pad(there_BT, (0, padded - length))
    device = there_BT.device
    missing_BS = torch.zeros(there_BS.shape, device=device).masked_fill(~there_BS, -torch.inf)
    never_TS = torch.full((length, padded), -torch.inf, device=device)
    itself_TS = never_TS.masked_fill(torch.eye(length, padded, dtype=torch.bool, device=device), 0.0)
    return torch.maximum(never_TS.triu(1) + missing_BS[:, None, None, :], itself_TS)


class _RmsNorm(torch.autograd.Function):
    """With its gradient by hand: automatic differentiation takes five times as long."""

    @staticmethod
    def forward(ctx: FunctionCtx, x_BTW: Tensor) -> Tensor:
        inverse_BT1 = ((x_BTW * x_BTW).mean(dim=-1, keepdim=True) + 1e-6).rsqrt()
        normed_BTW = x_BTW * inverse_BT1
        ctx.save_for_backward(normed_BTW, inverse_BT1)
        return normed_BTW

    @staticmethod
    def backward(ctx: NestedIOFunction, grad_BTW: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        normed_BTW, inverse_BT1 = ctx.saved_tensors
        along_BT1 = (grad_BTW * normed_BTW).mean(dim=-1, keepdim=True)
        return torch.addcmul(grad_BTW, normed_BTW, along_BT1, value=-1).mul_(inverse_BT1)


def rms_norm(x_BTW: Tensor) -> Tensor:
    """Scale every vector to a root mean square of 1."""
    if x_BTW.requires_grad:
        return _RmsNorm.apply(x_BTW)
    return x_BTW * ((x_BTW * x_BTW).mean(dim=-1, keepdim=True) + 1e-6).rsqrt()


def rotation(length: int, heads: int, width: int, device: torch.device | None = None) -> Tensor:
    """Cosines and signed sines of rotary position embedding (arXiv:2104.09864), the same for all heads, (2, T, H, P).

    Heads are written out, as broadcasting over them is ten times slower.
    """
    power_P = -torch.arange(0, width, 2, device=device) / width
    angle_TP = torch.arange(length, device=device)[:, None] * 10_000.0**power_P
    cos_TP, sin_TP = angle_TP.cos(), angle_TP.sin()
    turn_2TP = torch.stack([torch.cat([cos_TP, cos_TP], dim=-1), torch.cat([-sin_TP, sin_TP], dim=-1)])
    return turn_2TP.unsqueeze(2).repeat(1, 1, heads, 1)


def rotate(x_BTHP: Tensor, turn_2THP: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + P/2}) by its position's angle."""
    return _Rotate.apply(x_BTHP, turn_2THP) if x_BTHP.requires_grad else _rotated(x_BTHP, turn_2THP)


class _Rotate(torch.autograd.Function):
    """The gradient of a rotation is the rotation back."""

    @staticmethod
    def forward(ctx: FunctionCtx, x_BTHP: Tensor, turn_2THP: Tensor) -> Tensor:
        ctx.save_for_backward(turn_2THP)
        return _rotated(x_BTHP, turn_2THP)

    @staticmethod
    def backward(ctx: NestedIOFunction, grad_BTHP: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (turn_2THP,) = ctx.saved_tensors
        cos_THP, sin_THP = turn_2THP
        return _rotated(grad_BTHP, torch.stack([cos_THP, -sin_THP])), None


def _rotated(x_BTHP: Tensor, turn_2THP: Tensor) -> Tensor:
    cos_THP, sin_THP = turn_2THP
    return torch.addcmul(x_BTHP * cos_THP, x_BTHP.roll(x_BTHP.shape[-1] // 2, dims=-1), sin_THP)
