"""The in-context module and every backbone of both stages: forward and backward on CUDA equal the CPU's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ict.config import IctConfig
from ict.dropout import Dropout
from ict.module import InContext, Reads, Similarities
from ranking.layers import FIELDS, Inputs, Positions, Widths
from ranking.registry import BACKBONES, MODELS
from retrieval_stage import registry as retrieval

pytestmark = pytest.mark.gpu

ROWS, WIDTH, DENSE, LENGTH, TEXT = 64, 8, 5, 6, 24
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
ICT = IctConfig(text_hidden=32, predictions=10**6)
READERS: dict[str, tuple[type[InContext | Similarities], IctConfig]] = {
    "decoder": (InContext, ICT),
    "gate and similarity": (InContext, replace(ICT, gate=True, use_similarity=True)),
    "mean": (InContext, replace(ICT, pooling="mean")),
    "no chains of thought": (InContext, replace(ICT, use_cot=False)),
    "similarities": (Similarities, replace(ICT, pooling="similarities", use_similarity=True)),
}


def alike(model: nn.Module, there: torch.device, parts: Sequence[Tensor], call: Callable[..., Tensor]) -> None:
    """The loss that `call` makes of a model and its inputs, and all gradients, on both devices."""
    seen = []
    for device in (torch.device("cpu"), there):
        own = model.to(device)
        own.zero_grad(set_to_none=True)
        inputs = [part.detach().clone().to(device).requires_grad_(part.is_floating_point()) for part in parts]
        out = call(own, *inputs)
        out.square().mean().backward()
        grads = {name: weight.grad.cpu().clone() for name, weight in own.named_parameters() if weight.grad is not None}
        given = [part.grad.cpu().clone() for part in inputs if part.grad is not None]
        seen.append((out.detach().cpu(), grads, given))
    (out, grads, given), (out_there, grads_there, given_there) = seen
    close(out_there, out)
    assert grads.keys() == grads_there.keys()
    assert grads
    for name, grad in grads.items():
        close(grads_there[name], grad, msg=lambda words, name=name: f"{name}: {words}")
    close(given_there, given)


@pytest.mark.parametrize("name", MODELS)
def test_backbones(name: str, cuda: torch.device) -> None:
    torch.manual_seed(0)
    widths = Widths(fields=len(FIELDS), width=WIDTH, vectors=1, dense=DENSE)
    model = BACKBONES[name].module(widths, BACKBONES[name].config()).eval()
    place_BL = torch.randint(1, 9, (ROWS, LENGTH)) * (torch.arange(LENGTH) >= torch.arange(ROWS)[:, None] % LENGTH)
    parts = [
        torch.randn(ROWS, len(FIELDS), WIDTH), torch.randn(ROWS), torch.randn(ROWS, WIDTH), torch.randn(ROWS, DENSE),
        torch.randn(9, 3 * WIDTH), place_BL,
    ]  # fmt: skip

    def call(
        model: nn.Module, emb: Tensor, first: Tensor, w: Tensor, dense: Tensor, items: Tensor, at: Tensor
    ) -> Tensor:
        positions = Positions(item_GY=items, place_BL=at)
        return model(Inputs(emb_BFD=emb, first_B=first, vectors=(w,), dense_BJ=dense, positions=positions))

    alike(model, cuda, parts, call)


@pytest.mark.parametrize("name", READERS)
def test_the_in_context_module(name: str, cuda: torch.device) -> None:
    torch.manual_seed(0)
    kind, config = READERS[name]
    model = kind(config, width=WIDTH, text_width=TEXT).train()
    slots_BK = torch.randint(0, 21, (ROWS, 4))
    parts = [
        torch.randn(ROWS, WIDTH), torch.randn(21, WIDTH), torch.randn(21, TEXT), torch.randint(0, 2, (21,)),
        slots_BK, torch.rand(ROWS, 4),
    ]  # fmt: skip

    def call(
        model: Reads, r: Tensor, r_U: Tensor, cot: Tensor, label: Tensor, slots: Tensor, similar: Tensor
    ) -> Tensor:
        w_BW, predict_BKW = model(r, model.tokens(r_U, cot, label), slots, similar)
        return torch.cat([w_BW.flatten(), model.added_loss(predict_BKW, slots, cot).to(w_BW.device).view(1)])

    alike(model, cuda, parts, call)


@pytest.mark.parametrize("name", retrieval.MODELS)
def test_backbones_of_retrieval(name: str, cuda: torch.device) -> None:
    torch.manual_seed(0)
    entry = retrieval.BACKBONES[name]
    model = entry.module(16, LENGTH, replace(entry.config(), dropout=0.0))
    assert isinstance(model, nn.Module)
    history_BL = torch.randint(1, 9, (ROWS, LENGTH)) * (torch.arange(LENGTH) >= torch.arange(ROWS)[:, None] % LENGTH)
    parts = [torch.randn(ROWS, LENGTH, 16), history_BL]
    alike(model, cuda, parts, lambda model, item, history: model(item, history, torch.zeros_like(item[:, 0])))


def test_dropout_takes_torchs_own_way(cuda: torch.device) -> None:
    torch.manual_seed(0)
    out = Dropout(0.25)(torch.ones(1000, 1000, device=cuda))
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
