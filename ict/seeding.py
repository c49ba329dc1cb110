"""What makes a training run repeatable, alike in both stages."""

import os

import torch

from core import processor


def seed_everything(seed: int) -> None:
    """Make a run repeatable on one machine, and keep decayed weights out of the slow denormal range."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS refuses to repeat itself
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue] - it only helps to find bugs, and costs a sixth
    processor.flush_denormals(torch.set_flush_denormal)
