"""What can go wrong under way with the language model: nothing is lost, and the error says what to do."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import schemas, settings
from core.data import tables
from core.errors import LlmcfError
from core.settings import Workspace
from llm.texts.cache import TextCache
from tests.parrot import Parrot, run, texts

pytestmark = pytest.mark.integration


def test_a_full_disk_in_the_middle_of_a_shard_loses_nothing(place: Workspace, model: Path) -> None:
    real = TextCache.file
    with pytest.MonkeyPatch.context() as patch:

        def file(cache: TextCache) -> Path:
            return Path("/dev/full") if len(cache._entries) == 7 else real(cache)

        patch.setattr(TextCache, "file", file)
        with pytest.raises(LlmcfError, match=r"/dev/full takes no more \(No space left .*\); finished texts are kept"):
            run(place, model, Parrot())
    done = run(place, model, Parrot())
    assert len(texts(place)) == 20
    assert (done.details["reused"], done.details["fresh"]) == (7, 13)


def test_a_line_that_was_cut_short_by_a_full_disk_is_written_again(place: Workspace, model: Path) -> None:
    run(place, model, Parrot())
    before = texts(place)
    (cache,) = (settings.home() / "cot-cache").iterdir()
    for path in cache.glob("*.jsonl"):
        path.write_bytes(path.read_bytes()[:-5])
    done = run(place, model, Parrot(), limit=21)
    assert done.details["fresh"] > 1
    assert [row for row in texts(place) if row["row"] in {one["row"] for one in before}] == before
    assert len(list(cache.glob("*.jsonl"))) == 2, "a file a writer"


def test_a_workspace_without_training_rows_says_so(place: Workspace, model: Path, tmp_path: Path) -> None:
    rows = tables.training_rows(place)
    path = place.path("training", "rows.parquet")
    path.parent.unlink()  # the small world's own, which others read
    path.parent.mkdir()
    pq.write_table(rows.slice(0, 0).cast(schemas.TRAINING_ROWS), path)
    with pytest.raises(LlmcfError, match="movielens-100k has no training rows under the order shuffled-ties"):
        run(place, model, Parrot())
