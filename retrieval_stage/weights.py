"""A finished run's weights: safetensors of the tower's state."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from retrieval_stage.user_tower import UserTower

FILE = "model.safetensors"


def save(path: Path, tower: UserTower) -> None:
    save_file({name: values.contiguous() for name, values in tower.state_dict().items()}, path)


def read(path: Path) -> dict[str, Tensor]:
    return load_file(path)
