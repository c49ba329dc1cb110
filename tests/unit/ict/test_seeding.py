"""Both stages draw the same from a seed, and only from algorithms that repeat."""

from collections.abc import Iterator

import pytest
import torch

from ict.seeding import seed_everything


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_a_seed_decides_what_is_drawn() -> None:
    def drawn(seed: int) -> list[float]:
        seed_everything(seed)
        return torch.rand(4).tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_algorithms_repeat_and_memory_is_not_filled_for_nothing() -> None:
    seed_everything(1)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
