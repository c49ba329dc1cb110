"""Vectors of new items' texts, by the encoder that a release names. One process has it: the writer."""

import numpy as np
from numpy.typing import NDArray

from core.errors import Missing


class ItemTexts:
    """The encoder, loaded once; as long as no release reads texts, none is.

    Args:
        name: of the model and the first digits of its digest, `model@0123456789ab`; "" for none.

    Raises:
        LlmcfError: if it is not here, or another of that name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._encoder = None
        if not name:
            return
        from llm import models
        from llm.texts.encoder import Encoder

        model, _, digest = name.rpartition("@")
        folder = models.encoder_path(model or name)
        if not models.model_hash(folder).startswith(digest):
            raise Missing(f"{folder} is not {name}, which made the texts of the release", models.REMEDY)
        self._encoder = Encoder(model)

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors, (N, E); E is 0 without an encoder."""
        if self._encoder is None:
            return np.empty((len(texts), 0), dtype=np.float32)
        return self._encoder(texts)
