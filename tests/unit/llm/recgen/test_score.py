"""Rows that a model was tuned on are not scored by it, whichever preparation it was tuned under."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from core import schemas, steps, storage
from core.errors import Missing
from core.settings import Workspace
from llm.recgen import mixing
from llm.recgen.score import unseen
from tests import in_memory

ROWS = in_memory.training_rows()


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    found = Workspace("movielens-100k", "shuffled-ties")

    def write(folder: Path) -> dict[str, object]:
        storage.write_table(folder / "rows.parquet", ROWS, schemas.TRAINING_ROWS)
        return {}

    steps.run(steps.Step(folder=found.path("training"), config={}), write)
    return found


def tuned(folder: Path, told: dict[bytes, str] | None, taken: list[int]) -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"row": taken}).replace_schema_metadata(told), folder / "rows.parquet")
    return folder


def test_what_it_was_tuned_on_is_left_out(ws: Workspace, tmp_path: Path) -> None:
    train = ROWS.filter(pc.field("split") == "train")["row"].to_pylist()
    told = {mixing.ROWS_OF: steps.content_of(ws.path("training"))}
    left, trained = unseen(ws, tuned(tmp_path / "tuned", told, train[:4]))
    assert trained["row"].to_pylist() == train[:4]
    assert left["row"].to_pylist() == train[4:]


@pytest.mark.parametrize("told", [None, {mixing.ROWS_OF: "as it was"}], ids=["does not say", "another preparation"])
def test_numbers_of_other_rows_prove_nothing(ws: Workspace, tmp_path: Path, told: dict[bytes, str] | None) -> None:
    with pytest.raises(Missing, match="was tuned on rows of before, or of elsewhere; run `llmcf recgen train"):
        unseen(ws, tuned(tmp_path / "tuned", told, [1, 2]))


def test_a_model_that_was_not_tuned_has_seen_none(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    left, trained = unseen(ws, tmp_path / "base")
    assert (left.num_rows > 0, trained.num_rows) == (True, 0)
