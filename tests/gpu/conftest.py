"""What the GPU lane shares. Imports nothing but torch and pytest."""

import pytest
import torch


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """The first CUDA device, its products in full float32."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", 0)
