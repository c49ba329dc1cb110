"""xDeepFM (arXiv:1803.05170). Suffixes: B batch, F fields (added vectors included), H maps of a layer, D width."""

import torch
from torch import Tensor, nn

from ranking.configs import XDeepFmConfig
from ranking.layers import FirstOrder, Inputs, Mlp, Widths

_ROWS = 64  # that are trained at a time: what they need then stays in the processor's cache


class XDeepFM(nn.Module):
    """logit = first-order weights + compressed interaction network (CIN) + deep tower.

    Every added vector is one more field of the CIN, times a learned scale that starts low: embeddings start small, and
    a normed vector beside them would rule all their products.
    """

    def __init__(self, widths: Widths, config: XDeepFmConfig) -> None:
        super().__init__()
        self.first = FirstOrder(widths)
        self.tower = Mlp(widths.flat, config.tower, 1, config.dropout)
        self.cin = Cin(widths.fields + widths.vectors, config.maps, half=config.precision == "bfloat16")
        self.scale = nn.Parameter(torch.full((), config.vector_scale)) if widths.vectors else None

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        return self.first(inputs) + self.cin(inputs.fields(self.scale)) + self.tower(inputs.flat()).squeeze(1)


class Cin(nn.Module):
    """Layer k: x^k_h = sum over i, j of W^k_hij (x^{k-1}_i * x^0_j), element by element; their sums over D are scored.

    Nothing follows the last layer, so its maps are never formed: with M_ij = sum_h s_h W_hij, its score is the inner
    product of M and x^{k-1} x^0', which takes a hundredth of the work.
    """

    def __init__(self, fields: int, maps: tuple[int, ...], *, half: bool = False) -> None:
        super().__init__()
        self.maps = maps
        self.in_bfloat16 = half
        before = (fields, *maps[:-1])
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(count, last * fields)).reshape(count, last, fields)
            for count, last in zip(maps, before, strict=True)
        )
        self.score = nn.Linear(sum(maps), 1, bias=False)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Return logits, (B,)."""
        if not self.training:
            return self._of_rows(emb_BFD)
        with torch.autocast(emb_BFD.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            return torch.cat([self._of_rows(part_BFD) for part_BFD in emb_BFD.split(_ROWS)]).float()

    def _of_rows(self, emb_BFD: Tensor) -> Tensor:
        width = emb_BFD.shape[2]
        *inner, last_HIF = self.weights
        *weights, last_H = self.score.weight[0].split(self.maps)
        fields_XF = emb_BFD.transpose(1, 2).flatten(0, 1)  # X = B * D
        before_XH, logits = fields_XF, []
        for weight_HIF, score_H in zip(inner, weights, strict=True):
            before_XH = _maps(before_XH, fields_XF, weight_HIF)
            logits.append((before_XH @ score_H).unflatten(0, (-1, width)).sum(dim=1))
        before_BHD = before_XH.unflatten(0, (-1, width)).transpose(1, 2)
        mixed_IF = torch.einsum("h,hif->if", last_H, last_HIF)
        logits.append(((before_BHD @ emb_BFD.transpose(1, 2)) * mixed_IF).sum(dim=(1, 2)))
        return torch.stack(logits).sum(dim=0)


def _maps(before_XI: Tensor, fields_XF: Tensor, weight_HIF: Tensor) -> Tensor:
    """One layer, (X, H): W maps x^{k-1} for each field j at once, then x^0_j scales; the pairs are never formed."""
    mapped_XY = before_XI @ weight_HIF.permute(1, 2, 0).flatten(1)
    mapped_XFH = mapped_XY.unflatten(1, (fields_XF.shape[1], -1))
    return torch.bmm(fields_XF.unsqueeze(1), mapped_XFH).squeeze(1)
