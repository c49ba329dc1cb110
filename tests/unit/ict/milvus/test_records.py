"""Digests of rows and of the whole, and what a server of one vector goes without."""

from typing import Any

import numpy as np
import pytest

from core.errors import UsageError
from ict.milvus.indexes import IndexConfig
from ict.milvus.records import Records, rows


def some(**more: Any) -> Records:
    fields: dict[str, Any] = {
        "ids": np.array([4, 7, 9]),
        "vectors": {"key": np.eye(3, 4, dtype=np.float32), "cot": np.ones((3, 2), dtype=np.float32)},
        "scalars": {
            "day": np.array([1, 2, 3]),
            "categories": np.array([[5, 0], [0, 0], [5, 6]]),
            "text": ["a", "b", ""],
        },
        "kept": frozenset({"cot"}),
    }
    return Records(**fields | more)


def test_a_row_changes_its_own_digest_and_the_whole() -> None:
    one, other = some(), some(scalars={**some().scalars, "text": ["a", "c", ""]})
    assert (one.row_digests == other.row_digests).tolist() == [True, False, True]
    assert one.digest() != other.digest()
    assert one.digest() == some().digest()


@pytest.mark.parametrize(
    "more",
    [
        {"ids": np.array([4, 7, 10])},
        {"index": IndexConfig(kind="HNSW")},
        {"index": IndexConfig(kind="HNSW", ef=64)},
        {"vectors": {"key": np.eye(3, 4, dtype=np.float32)}},
    ],
)
def test_other_ids_fields_or_index_are_another_whole(more: dict[str, Any]) -> None:
    assert some(**more).digest() != some().digest()


def test_texts_do_not_run_into_each_other() -> None:
    texts = [{"a": ["x", "", ""], "b": ["y", "", ""]}, {"a": ["xy", "", ""], "b": ["", "", ""]}]
    one, other = (some(scalars=scalars).row_digests for scalars in texts)
    assert one[0] != other[0]


def test_a_server_of_one_vector_goes_without_what_is_only_kept() -> None:
    assert list(some().with_one_vector("Milvus 2.3").vectors) == ["key"]
    with pytest.raises(UsageError, match=r"Milvus 2\.3 holds one vector a row, and key and cot are to be searched"):
        some(kept=frozenset()).with_one_vector("Milvus 2.3")


def test_rows_as_milvus_takes_them() -> None:
    ((first, second),) = rows(some().columns(), [0, 2])
    assert {name: first[name] for name in ("id", "day", "categories", "text")} == {
        "id": 4,
        "day": 1,
        "categories": [5],
        "text": "a",
    }
    assert second["categories"] == [5, 6]
    assert second["key"].tolist() == [0, 0, 1, 0]
