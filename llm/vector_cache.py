"""Vectors, or single numbers, by the text they are of, so that a new day computes only what is new.

One folder for each content of a model; a safetensors file for each run that added something, whole or not there.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from core import settings, storage

Floats = NDArray[np.float32]


class VectorCache:
    """The vectors made by the model whose content has the digest `content`."""

    def __init__(self, content: str) -> None:
        self.folder: Path = settings.home() / "vector-cache" / content[:16]
        self._places: dict[bytes, tuple[int, int]] = {}
        self._files: list[Floats] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            self._take(load_file(path))

    def vectors(self, texts: Sequence[str], encode: Callable[[list[str]], Floats]) -> tuple[Floats, int]:
        """The vectors of `texts`, (N, E), and how many distinct texts had to be encoded."""
        names = [hashlib.sha256(text.encode()).digest()[:16] for text in texts]
        new = {name: text for name, text in zip(names, texts, strict=True) if name not in self._places}
        if new:
            made = {
                "name": np.frombuffer(b"".join(new), dtype=np.uint8).reshape(len(new), 16),
                "vector": np.ascontiguousarray(encode(list(new.values())), dtype=np.float32),
            }
            name = storage.digest([one.hex() for one in new])[:16]
            with storage.atomic_path(self.folder / f"{name}.safetensors") as beside:
                save_file(made, beside)
            self._take(made)
        places = [self._places[name] for name in names]
        return np.stack([self._files[file][row] for file, row in places]), len(new)

    def _take(self, stored: dict[str, np.ndarray]) -> None:
        for row, name in enumerate(stored["name"]):
            self._places[name.tobytes()] = (len(self._files), row)
        self._files.append(stored["vector"])
