"""Random questions to the graphs of a synthetic release."""

import numpy as np

from llmcf.serving.manifest import Release
from tests.synthetic_release import ROWS


def question(release: Release, model: str, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        tensor.name: generator.integers(0, ROWS, (rows, *tensor.shape))
        if tensor.dtype == "int64"
        else generator.random((rows, *tensor.shape), dtype=np.float32)
        for tensor in release.stages[model].inputs
    }
