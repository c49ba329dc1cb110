"""What every retrieval backbone keeps; a new one is tested by being registered."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.contracts import HISTORY, PAD
from ict import onnx
from retrieval_stage.models.backbone import Backbone
from retrieval_stage.registry import BACKBONES, MODELS

WIDTH, ITEMS, ROWS = 8, 30, 4
IN_PLACES = {"sasrec"}  # these know an item's place in the window, not its age at a position
CAUSAL = [name for name in MODELS if BACKBONES[name].module(WIDTH, HISTORY, BACKBONES[name].config()).causal]


def made(name: str) -> Backbone:
    torch.manual_seed(0)
    backbone = BACKBONES[name].module(WIDTH, HISTORY, BACKBONES[name].config())
    assert isinstance(backbone, nn.Module)
    return backbone.eval()  # pyright: ignore[reportReturnType]


def inputs(*, full: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, ids with repeats, users; histories of 20 items, or of 20, 13, 1 and none."""
    table = torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(1))
    table[PAD] = 0
    history_BL = torch.randint(2, ITEMS, (ROWS, HISTORY), generator=torch.Generator().manual_seed(2))
    if not full:
        start_B1 = torch.tensor([[0], [7], [19], [20]])
        history_BL = history_BL.masked_fill(torch.arange(HISTORY) < start_B1, PAD)
    return table[history_BL], history_BL, torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", MODELS)
def test_states_are_finite_for_every_history_and_change_with_it(name: str) -> None:
    states_BLD = made(name)(*inputs())
    assert states_BLD.shape == (ROWS, HISTORY, WIDTH)
    assert torch.isfinite(states_BLD).all(), "an empty history has a state as well"
    assert not torch.allclose(states_BLD[0, -1], states_BLD[1, -1], atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_state_sees_nothing_after_it(name: str) -> None:
    backbone, (item_BLD, history_BL, user_BD) = made(name), inputs(full=True)
    changed_BLD, changed_BL = item_BLD.clone(), history_BL.clone()
    changed_BLD[:, 9:] = torch.randn(ROWS, HISTORY - 9, WIDTH)  # a shift by a constant would vanish in norms
    changed_BL[:, 9:] = changed_BL[:, 9:].flip(1)
    before, after = backbone(item_BLD, history_BL, user_BD), backbone(changed_BLD, changed_BL, user_BD)
    assert_close(before[:, :9], after[:, :9])
    assert not torch.isclose(before[:, 9:], after[:, 9:], atol=1e-4).all(dim=-1).any()


@pytest.mark.parametrize("name", MODELS)
def test_padding_is_never_looked_at(name: str) -> None:
    backbone, (item_BLD, history_BL, user_BD) = made(name), inputs()
    there_BL1 = (history_BL != PAD).unsqueeze(2)
    before = backbone(item_BLD, history_BL, user_BD)
    after = backbone(torch.where(there_BL1, item_BLD, torch.randn_like(item_BLD)), history_BL, user_BD)
    assert_close(before[:3, -1], after[:3, -1])
    if name in CAUSAL:
        assert_close(before[there_BL1.squeeze(2)], after[there_BL1.squeeze(2)])


@pytest.mark.parametrize("name", MODELS)
def test_how_much_padding_there_is_does_not_matter(name: str) -> None:
    backbone, (item_BLD, history_BL, user_BD) = made(name), inputs()
    there_BL = history_BL != PAD
    whole_BLD = backbone(item_BLD, history_BL, user_BD)
    for row, taken in enumerate(there_BL.sum(dim=1).tolist()):
        for length in {max(1, taken), min(HISTORY, taken + 1), min(HISTORY, taken + 5)}:
            short = (item_BLD[[row], -length:], history_BL[[row], -length:], user_BD[[row]])
            cut_BLD = backbone(*short)
            assert_close(cut_BLD[:, -1], whole_BLD[[row], -1], atol=1e-5, rtol=1e-5)
            if name in CAUSAL:
                there_L = there_BL[row, -length:]
                assert_close(cut_BLD[0, there_L], whole_BLD[row, -length:][there_L], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in CAUSAL if name not in IN_PLACES])
def test_a_causal_state_is_that_of_its_prefix_alone(name: str) -> None:
    backbone, (item_BLD, history_BL, user_BD) = made(name), inputs(full=True)
    window_BLD = backbone(item_BLD, history_BL, user_BD)
    for place in range(HISTORY):
        blank = HISTORY - 1 - place
        prefix_BL = torch.nn.functional.pad(history_BL[:, : place + 1], (blank, 0), value=PAD)
        prefix_BLD = torch.nn.functional.pad(item_BLD[:, : place + 1], (0, 0, blank, 0))
        assert_close(backbone(prefix_BLD, prefix_BL, user_BD)[:, -1], window_BLD[:, place], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_oldest_and_the_newest_item_count(name: str) -> None:
    backbone, (item_BLD, history_BL, user_BD) = made(name), inputs(full=True)
    before = backbone(item_BLD, history_BL, user_BD)[:, -1]
    for place in (0, HISTORY - 1):
        changed_BLD, changed_BL = item_BLD.clone(), history_BL.clone()
        changed_BLD[:, place], changed_BL[:, place] = torch.randn(ROWS, WIDTH), ITEMS
        after = backbone(changed_BLD, changed_BL, user_BD)[:, -1]
        assert not torch.isclose(before, after, atol=1e-7, rtol=1e-5).all(dim=1).any(), place


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_for_training_only(name: str) -> None:
    backbone, parts = made(name), inputs(full=True)
    assert_close(backbone(*parts), backbone(*parts), atol=0, rtol=0)
    assert isinstance(backbone, nn.Module)
    backbone.train()
    assert not torch.allclose(backbone(*parts)[:, -1], backbone(*parts)[:, -1], atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_a_batch_do_not_touch_each_other(name: str) -> None:
    backbone, parts = made(name), inputs()
    alone = torch.cat([backbone(*(part[row : row + 1] for part in parts)) for row in range(ROWS)])
    assert_close(backbone(*parts), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_states_gradient_reaches_every_weight(name: str) -> None:
    backbone = made(name)
    assert isinstance(backbone, nn.Module)
    backbone(*inputs(full=True))[:, -1].square().sum().backward()
    idle = [name for name, weight in backbone.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not idle


class LastState(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, request: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> Tensor:
        """Return (B, D)."""
        del tables
        return self.backbone(request["item"], request["history"], request["user"])[:, -1]


@pytest.mark.parametrize("name", MODELS)
def test_it_can_be_exported_for_any_batch(name: str, tmp_path: Path) -> None:
    graph = LastState(made(name)).eval()
    item_BLD, history_BL, user_BD = (part.numpy() for part in inputs())
    request: dict[str, np.ndarray] = {"item": item_BLD, "history": history_BL, "user": user_BD}
    onnx.write(graph, request, {}, ["state"], tmp_path)
    many = {name: np.concatenate([values] * 9) for name, values in request.items()}
    for asked in (request, many):
        with torch.no_grad():
            expected = graph({name: torch.from_numpy(values) for name, values in asked.items()}, {}).numpy()
        onnx.check(tmp_path / onnx.MODEL, asked, expected)
