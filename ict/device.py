"""Where a ranker is trained. Retrieval models, and what is exported or compared, are on the CPU."""

import torch


def device(number: int = 0) -> torch.device:
    """The GPU of this number on this machine, if it has any; else the CPU."""
    return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")
