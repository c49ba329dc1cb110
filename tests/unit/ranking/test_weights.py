"""Weights say what they are of, and nothing else reads them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import UsageError
from core.settings import Workspace
from ranking import weights
from ranking.ranker import Shape, build
from ranking.recipes import resolve
from tests import in_memory

WS = Workspace("movielens-100k", "global-time")  # nobody else's
CONFIG = resolve(WS, model="deepfm", framework="none", recipe="best", seed=1)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Shape]:
    _, shape = in_memory.batches()
    in_memory.write_cot_set(WS, in_memory.example_set(in_memory.training_rows()))
    path = tmp_path / weights.FILE
    weights.save(path, build(CONFIG, shape).state_dict(), weights.manifest(WS, CONFIG, shape))
    return path, shape


def test_weights_come_back(saved: tuple[Path, Shape]) -> None:
    path, shape = saved
    model = build(CONFIG, shape)
    model.load_state_dict(weights.read(path, weights.manifest(WS, CONFIG, shape)))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.read(path, {}).items())


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"dataset": "amazon-beauty"}, "of the dataset movielens-100k, and not of amazon-beauty"),
        ({"order": "published"}, "of the order global-time, and not of published"),
        ({"model": "dcn"}, "of the model deepfm, and not of dcn"),
        ({"format": "2"}, "of the format 1, and not of 2"),
        ({"dense features": "none"}, "of the dense features activity"),
        ({"text encoder": "bge@12"}, "of the text encoder @, and not of bge@12"),
    ],
)
def test_weights_of_something_else_are_refused_by_name(
    saved: tuple[Path, Shape], expected: dict[str, str], message: str
) -> None:
    path, shape = saved
    with pytest.raises(UsageError, match=message) as caught:
        weights.read(path, {**weights.manifest(WS, CONFIG, shape), **expected})
    assert caught.value.exit_code == 2


def test_weights_of_tables_of_other_sizes_are_refused(saved: tuple[Path, Shape]) -> None:
    path, shape = saved
    other = replace(shape, tables=replace(shape.tables, item=99))
    with pytest.raises(UsageError, match=r'of the tables .*"item": 32.* and not of .*"item": 99'):
        weights.read(path, weights.manifest(WS, CONFIG, other))
