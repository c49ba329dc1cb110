"""Nothing is encoded twice, and every text gets its own vector."""

from pathlib import Path

import numpy as np
import pytest

from llm.vector_cache import VectorCache

asked: list[str] = []


def encode(texts: list[str]) -> np.ndarray:
    asked.extend(texts)
    return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    asked.clear()


def test_only_new_texts_are_encoded_and_order_is_kept() -> None:
    first, fresh = VectorCache("a" * 64).vectors(["bb", "a", "bb"], encode)
    assert (first.tolist(), fresh, asked) == ([[2, 98], [1, 97], [2, 98]], 2, ["bb", "a"])
    second, fresh = VectorCache("a" * 64).vectors(["ccc", "a"], encode)
    assert (second.tolist(), fresh, asked) == ([[3, 99], [1, 97]], 1, ["bb", "a", "ccc"])
    assert VectorCache("a" * 64).vectors(["a", "bb", "ccc"], encode)[1] == 0


def test_another_encoder_has_vectors_of_its_own() -> None:
    VectorCache("a" * 64).vectors(["x"], encode)
    assert VectorCache("b" * 64).vectors(["x"], encode)[1] == 1
