"""Scores that teach a ranker are out of fold, and the audit sees it when they are not."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import steps, storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm.contexts import training_split
from llm.recgen import mixing, score
from llmcf import audit
from tests.tiny_llama import write

pytestmark = pytest.mark.integration


@pytest.fixture
def model(own: Workspace, tmp_path: Path) -> Path:
    """A model that was trained on the first hundred rows."""
    folder = write(tmp_path / "tuned")
    told = {mixing.ROWS_OF: steps.content_of(own.path("training"))}
    trained = training_split(own).slice(0, 100).select(["row"])
    pq.write_table(trained.replace_schema_metadata(told), folder / "rows.parquet")
    return folder


def scores(ws: Workspace) -> list[audit.Check]:
    return [check for check in audit._checks(ws) if check.claim.startswith("scores of ")]


def test_no_row_is_scored_that_trained_the_model(own: Workspace, model: Path) -> None:
    done = score.score(own, model=str(model), seed=1, rows=60)
    found = pq.read_table(done.artifacts["scores"])
    trained = set(pq.read_table(model / "rows.parquet")["row"].to_pylist())
    assert (done.details["scored"], done.details["trained_on"]) == (60, 100)
    assert not trained & set(found["row"].to_pylist())
    assert all(0 < p < 1 for p in found["p_yes"].to_pylist())
    assert {row % 2 for row in found["row"].to_pylist()} == {0, 1}
    assert [len(check.violations) for check in scores(own)] == [0]
    assert score.score(own, model=str(model), seed=1, rows=60).skipped


def test_an_in_sample_score_is_caught(own: Workspace, model: Path) -> None:
    """Planted: the model has seen the negative of a scored positive."""
    done = score.score(own, model=str(model), seed=2, rows=40)
    path = Path(done.artifacts["trained"])
    table, scored = pq.read_table(path), pq.read_table(done.artifacts["scores"])
    partner = scored["row"][0].as_py() ^ 1
    planted = pa.table({"row": [partner], "model": [table["model"][0].as_py()]}).cast(table.schema)
    pq.write_table(pa.concat_tables([table, planted]), path)
    assert [len(check.violations) for check in scores(own)] == [2]


def test_a_pack_gives_the_scores_back_and_only_for_the_rows_they_are_of(
    own: Workspace, model: Path, tmp_path: Path
) -> None:
    done = score.score(own, model=str(model), seed=3, rows=40)
    files = [Path(done.artifacts[name]) for name in ("scores", "trained")]
    before = [pq.read_table(file).select(["row", "model"]).to_pylist() for file in files]
    p_yes = pq.read_table(files[0])["p_yes"].to_pylist()
    packed = score.pack(own, "small", model=str(model), seed=3, folder=tmp_path / "packs")
    assert packed.details["scored"] == 40
    storage.remove(files[0].parent)
    restored = score.restore(own, "small", folder=tmp_path / "packs")
    assert restored.details["auc"] == done.details["auc"]
    assert [pq.read_table(file).select(["row", "model"]).to_pylist() for file in files] == before
    assert pq.read_table(files[0])["p_yes"].to_pylist() == p_yes
    assert [len(check.violations) for check in scores(own)] == [0]

    manifest = storage.read_json(tmp_path / "packs" / "small.json")
    storage.write_json(tmp_path / "packs" / "small.json", manifest | {"rows": "0" * 64})
    storage.remove(files[0].parent)
    with pytest.raises(LlmcfError, match="'small' is of other data or another seed of `data prepare`"):
        score.restore(own, "small", folder=tmp_path / "packs")


def test_a_killed_run_goes_on_and_a_larger_one_scores_only_what_is_new(
    own: Workspace, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    real = score.Scorer.p_yes

    def p_yes(scorer: score.Scorer, prompts: Any, count: int) -> Any:
        if len(scored) == 2 and not resumed:
            raise KeyboardInterrupt
        scored.append(count)
        return real(scorer, prompts, count)

    def by_row(rows: int) -> dict[int, float]:
        found = pq.read_table(score.score(own, model=str(model), seed=4, rows=rows).artifacts["scores"])
        return dict(zip(found["row"].to_pylist(), found["p_yes"].to_pylist(), strict=True))

    monkeypatch.setattr(score, "_PART", 16)
    monkeypatch.setattr(score.Scorer, "p_yes", p_yes)
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        by_row(80)
    resumed = True
    first = by_row(80)
    assert sum(scored) <= 80, "no text is scored twice"
    assert len(scored) == 5
    larger = by_row(96)
    assert sum(scored) <= 96
    assert {row: larger[row] for row in first} == first


def test_a_pair_is_asked_for(own: Workspace, model: Path) -> None:
    with pytest.raises(UsageError, match="--rows 1"):
        score.score(own, model=str(model), seed=1, rows=1)
