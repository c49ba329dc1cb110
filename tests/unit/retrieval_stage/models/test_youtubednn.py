"""YoutubeDNN against its formula, written out slowly."""

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.contracts import PAD
from retrieval_stage.configs import YoutubeDnnConfig
from retrieval_stage.models.youtubednn import YoutubeDNN, by_age

WIDTH, LENGTH = 4, 6


def made(**config: object) -> YoutubeDNN:
    """A model in which every age weighs otherwise."""
    torch.manual_seed(0)
    model = YoutubeDNN(WIDTH, LENGTH, YoutubeDnnConfig(hidden=(7, 5), **config)).eval()  # pyright: ignore[reportArgumentType]
    nn.init.normal_(model.log_weight_L)
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.bias)
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Two full histories and one of two items."""
    generator = torch.Generator().manual_seed(1)
    history_BL = torch.randint(2, 9, (3, LENGTH), generator=generator)
    history_BL[2, :4] = PAD
    return torch.randn(3, LENGTH, WIDTH, generator=generator), history_BL, torch.randn(3, WIDTH, generator=generator)


def by_hand(model: YoutubeDNN, items: list[Tensor], user_D: Tensor | None) -> Tensor:
    """The state after these items, oldest first."""
    weights = model.log_weight_L.detach().exp()[: len(items)].flip(0).tolist()
    pooled_D = sum((w * item for w, item in zip(weights, items, strict=True)), torch.zeros(WIDTH))
    vector = pooled_D / max(sum(weights), 1e-9) * WIDTH**0.5
    if user_D is not None:
        vector = torch.cat([vector, user_D])
    *hidden, last = (layer for layer in model.layers if isinstance(layer, nn.Linear))
    for layer in hidden:
        vector = (layer.weight @ vector + layer.bias).clamp(min=0)
    return last.weight @ vector + last.bias


def test_every_state_is_the_formula_of_its_prefix() -> None:
    for user in (False, True):
        model, (item_BLD, history_BL, user_BD) = made(user=user), inputs()
        state_BLD = model(item_BLD, history_BL, user_BD)
        for row in range(3):
            for place in range(LENGTH):
                kept = [item_BLD[row, j] for j in range(place + 1) if history_BL[row, j] != PAD]
                expected_D = by_hand(model, kept, user_BD[row] if user else None)
                assert_close(state_BLD[row, place], expected_D, atol=1e-5, rtol=1e-5)


def test_the_user_is_read_where_asked_for() -> None:
    item_BLD, history_BL, user_BD = inputs()
    for user in (False, True):
        model = made(user=user)
        before, after = (model(item_BLD, history_BL, users) for users in (user_BD, user_BD + 1))
        assert torch.allclose(before, after) is not user


def test_weights_by_age() -> None:
    weight_LL = by_age(torch.tensor([1.0, 2.0, 3.0, 4.0]), 3)
    assert weight_LL.tolist() == [[1, 0, 0], [2, 1, 0], [3, 2, 1]]


def test_a_new_model_takes_the_plain_mean() -> None:
    item_BLD, history_BL, _ = inputs()
    pooled_BLD = YoutubeDNN(WIDTH, LENGTH, YoutubeDnnConfig()).pool(item_BLD, history_BL != PAD)
    assert_close(pooled_BLD[0, 3], item_BLD[0, :4].mean(dim=0))
    assert_close(pooled_BLD[2, -1], item_BLD[2, 4:].mean(dim=0))
    assert not pooled_BLD[2, :4].any(), "nothing there yet"
