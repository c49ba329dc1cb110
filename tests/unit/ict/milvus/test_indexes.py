"""Types of index and their numbers."""

import pytest

from core.errors import UsageError
from ict.milvus.indexes import IndexConfig


def test_each_kind_says_only_its_own_numbers() -> None:
    assert IndexConfig().as_json() == {"kind": "FLAT"}
    hnsw = IndexConfig(kind="HNSW", m=8, ef_construction=40, ef=64)
    assert hnsw.as_json() == {"kind": "HNSW", "m": 8, "ef_construction": 40, "ef": 64}
    assert hnsw.build_params() == {"M": 8, "efConstruction": 40}
    assert hnsw.search_params(10) == {"ef": 64}
    assert hnsw.search_params(100) == {"ef": 100}, "a search looks at as many as it is to find"
    assert IndexConfig(kind="IVF_FLAT").search_params(10) == {"nprobe": 128}


def test_what_was_told_is_read_again() -> None:
    config = IndexConfig(kind="IVF_FLAT", nlist=32, nprobe=4)
    assert IndexConfig.of({**config.as_json(), "of a later version": 1}) == config


@pytest.mark.parametrize(("rows", "kind"), [(100_000, "FLAT"), (100_001, "IVF_FLAT")])
def test_auto_goes_by_the_number_of_rows(rows: int, kind: str) -> None:
    assert IndexConfig.named("auto", rows).kind == kind
    assert IndexConfig.named("ivf_flat", rows).kind == "IVF_FLAT"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "DISKANN"}, "unknown index type 'DISKANN'; choose one of: FLAT, HNSW, IVF_FLAT"),
        ({"kind": "HNSW", "m": 1}, "m 1 .* between 2 and 2048"),
        ({"ef": 0}, "ef 0"),
        ({"kind": "IVF_FLAT", "nlist": 8, "nprobe": 9}, "nprobe 9 .* above its 8 cells"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        IndexConfig(**wrong)


def test_an_unknown_name_is_answered_with_the_names() -> None:
    with pytest.raises(UsageError, match="auto, FLAT, HNSW, IVF_FLAT"):
        IndexConfig.named("scann", 5)
