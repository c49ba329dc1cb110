"""What was read of Milvus, kept in files: the same columns, and no file of another collection or of half of one."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from core.errors import LlmcfError, Missing
from core.settings import Workspace
from ict.replica import Stored
from llmcf.serving import copies, held, loading
from retrieval_stage.items import ItemReplica
from tests.synthetic_release import write_release

FIT = "all-minilm@beef (64,)"
WS = Workspace("movielens-100k", "shuffled-ties")
ITEMS = {
    "id": np.array([2, 3, 7]),
    "vector": np.eye(3, 4, dtype=np.float32),
    "categories": np.array([[2, 0], [3, 4], [0, 0]]),
    "first_day": np.array([1, 2, 3]),
}
EXAMPLES = {
    **{name: np.arange(5) for name in ("id", "user", "item", "position", "day", "label")},
    "text": np.array(["<b>a</b>", "", "ü", "\n", "c"]),
    "key": np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32),
}


def parts(one: object) -> dict[str, Any]:
    return {name: getattr(one, name) for name in type(one).__slots__}  # type: ignore[attr-defined]


def test_columns_come_back_as_they_were(tmp_path: Path) -> None:
    copies.keep(tmp_path, "items_v1", ITEMS, FIT)
    copies.keep(tmp_path, "cot_v1", EXAMPLES, FIT)
    copies.keep(tmp_path, "cot_v1", {"other": np.zeros(1)}, FIT)  # it is there
    for name, columns in (("items_v1", ITEMS), ("cot_v1", EXAMPLES)):
        found = copies.read(tmp_path, name, FIT)
        assert found is not None
        assert {key: (one.shape, one.dtype.kind) for key, one in found.items() if key != "text"} == {
            key: (one.shape, one.dtype.kind) for key, one in columns.items() if key != "text"
        }
        for key, values in columns.items():
            assert found[key].tolist() == values.tolist()


def test_what_goes_with_another_release_is_no_copy_for_this_one(tmp_path: Path) -> None:
    copies.keep(tmp_path, "items_v1", ITEMS, "bge@cafe (64,)")
    assert copies.read(tmp_path, "items_v1", FIT) is None
    copies.keep(tmp_path, "items_v1", ITEMS, FIT)
    assert copies.read(tmp_path, "items_v1", FIT) is not None


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_column_of_no_width_comes_back(tmp_path: Path, dtype: type) -> None:
    """As categories are where a data set has none."""
    columns = {"id": ITEMS["id"], "categories": np.zeros((3, 0), dtype=dtype)}
    copies.keep(tmp_path, "items_v1", columns, FIT)
    found = copies.read(tmp_path, "items_v1", FIT)
    assert found is not None
    assert (found["categories"].shape, found["categories"].dtype) == ((3, 0), dtype)


@pytest.mark.parametrize("damage", [lambda held: held[:-20], lambda held: b"", lambda held: held[:-2] + b"xx"])
def test_a_file_that_is_not_whole_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    assert copies.read(tmp_path, "items_v1", FIT) is None
    copies.keep(tmp_path, "items_v1", ITEMS, FIT)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert copies.read(tmp_path, "items_v1", FIT) is None


def test_a_file_with_another_number_in_it_is_none_and_is_written_anew(tmp_path: Path) -> None:
    copies.keep(tmp_path, "items_v1", ITEMS, FIT)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    at = whole.index(np.float32(1.0).tobytes())
    path.write_bytes(whole[:at] + np.float32(2.0).tobytes() + whole[at + 4 :])
    assert copies.read(tmp_path, "items_v1", FIT) is None
    copies.keep(tmp_path, "items_v1", ITEMS, FIT)
    assert path.read_bytes() == whole
    assert copies.read(tmp_path, "items_v1", FIT) is not None


def test_the_folder_is_this_user_s_alone(tmp_path: Path) -> None:
    folder = tmp_path / "of-milvus"
    folder.mkdir(mode=0o755)
    copies.keep(folder, "items_v1", ITEMS, FIT)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_files_of_other_collections_go(tmp_path: Path) -> None:
    for name in ("items_v1", "items_v2", "cot_v1"):
        copies.keep(tmp_path, name, ITEMS, FIT)
    copies.prune(tmp_path, {"items_v2", "cot_v1"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cot_v1.arrow", "items_v2.arrow"]
    copies.prune(tmp_path / "none", set())


def test_what_killed_workers_had_begun_goes_when_nobody_can_write_it_any_more(tmp_path: Path) -> None:
    begun, left = (tmp_path / f".cot_v1.arrow.{pid}-0.tmp" for pid in (1, 2))
    for path in (begun, left):
        path.touch()
    os.utime(left, (0, time.time() - 7200))
    copies.prune(tmp_path, {"cot_v1"})
    assert begun.exists()
    assert not left.exists()


@pytest.mark.usefixtures("repository")
def test_what_milvus_gave_once_is_not_asked_of_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = write_release(WS, collections={"cot": "cot_v1", "items": "items_v1"})
    held_by_milvus = {"items": ITEMS, "cot": EXAMPLES}

    def away(*_: object) -> None:
        raise LlmcfError("Milvus does not answer")

    monkeypatch.setattr(loading, "_of_milvus", lambda _, kinds: {kind: held_by_milvus[kind] for kind in kinds})
    whole = loading._columns(release, ("items", "cot"), tmp_path)
    monkeypatch.setattr(loading, "_of_milvus", away)
    again = loading._columns(release, ("items", "cot"), tmp_path)
    np.testing.assert_equal(parts(Stored.of(again["cot"])), parts(Stored.of(whole["cot"])))
    items = [parts(ItemReplica.of("items_v1", one["items"]).exact) for one in (again, whole)]
    np.testing.assert_equal(items[0], items[1])
    (tmp_path / "cot_v1.arrow").unlink()
    assert list(loading._columns(release, ("items",), tmp_path)) == ["items"]
    for kept in (tmp_path, None):
        with pytest.raises(LlmcfError, match="Milvus does not answer"):
            loading._columns(release, ("items", "cot"), kept)


@pytest.mark.usefixtures("repository")
def test_what_does_not_go_with_the_release_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = write_release(WS, collections={"items": "items_v1"})
    copies.keep(tmp_path, "items_v1", ITEMS, FIT)  # of a release of another encoder

    def unfit(*_: object) -> None:
        raise held.Unfit("items_v1 is by another encoder", "llmcf export")

    monkeypatch.setattr(loading, "_of_milvus", unfit)
    with pytest.raises(Missing, match="another encoder"):
        loading._columns(release, ("items",), tmp_path)


@pytest.mark.usefixtures("repository")
def test_a_new_release_is_kept_before_a_service_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    release = write_release(WS, collections={"cot": "cot_v1", "items": "items_v1"})
    monkeypatch.setattr(loading, "_of_milvus", lambda _, kinds: {"items": ITEMS, "cot": EXAMPLES})
    loading.keep(release)
    place = copies.folder(WS.dataset)
    assert sorted(path.name for path in place.iterdir()) == ["cot_v1.arrow", "items_v1.arrow"]

    def away(*_: object) -> None:
        raise LlmcfError("Milvus does not answer")

    monkeypatch.setattr(loading, "_of_milvus", away)
    loading.keep(release)
    loading.keep(write_release(WS))  # which names no collection
    assert not capsys.readouterr().err
    copies.prune(place, {"items_v1"})
    loading.keep(release)
    assert "no copy of what Milvus holds is kept: Milvus does not answer" in capsys.readouterr().err


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    "error", [LlmcfError("no space left"), pa.ArrowInvalid("no space left"), OSError("no space left")]
)
def test_a_full_disk_keeps_no_copy_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    release = write_release(WS, collections={"items": "items_v1"})

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loading, "_of_milvus", lambda *_: {"items": ITEMS})
    monkeypatch.setattr(copies, "keep", full)
    assert loading._columns(release, ("items",), tmp_path)["items"] is ITEMS
    assert "no copy of what Milvus holds is kept: no space left" in capsys.readouterr().err
