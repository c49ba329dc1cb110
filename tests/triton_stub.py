"""What stands for `triton_python_backend_utils`, which exists inside Triton only."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Tensor:
    name: str
    values: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.values


@dataclass
class TritonError:
    message: str


@dataclass
class Response:
    tensors: list[Tensor]
    error: TritonError | None = None
