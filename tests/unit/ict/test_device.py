"""A process computes on a GPU of its machine where there is one."""

import pytest
import torch

from ict.device import device


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda:1"), (False, "cpu")])
def test_the_gpu_of_its_number_else_the_cpu(monkeypatch: pytest.MonkeyPatch, there: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert str(device(1)) == expected
