"""A load that meets a file which is still written."""

import pytest
from pymilvus.exceptions import MilvusException

from ict.milvus import lite


class Client:
    """Its first loads end with an error."""

    def __init__(self, *words: str) -> None:
        self.words, self.asked = list(words), 0

    def load_collection(self, name: str) -> None:
        assert name == "items"
        self.asked += 1
        if self.words:
            raise MilvusException(code=1, message=self.words.pop(0))


def test_half_a_file_is_read_again() -> None:
    client = Client("No data left in file", "cannot reshape array of size 3 into shape (2,2)")
    lite.load(client, "items")  # pyright: ignore[reportArgumentType] - of a MilvusClient that is all it needs
    assert client.asked == 3


def test_what_stays_or_is_another_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client("collection not found: items")
    with pytest.raises(MilvusException, match="not found"):
        lite.load(client, "items")  # pyright: ignore[reportArgumentType]
    assert client.asked == 1
    monkeypatch.setattr(lite, "_WRITING_S", 0.0)
    with pytest.raises(MilvusException, match="No data left"):
        lite.load(Client(*["No data left in file"] * 9), "items")  # pyright: ignore[reportArgumentType]
