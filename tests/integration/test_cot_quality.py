"""The quality report of real texts and vectors, embeddings that are reused, and representative rows."""

import re
from pathlib import Path

import pytest

from core import measurements
from core.errors import LlmcfError
from core.settings import Workspace
from llm.cot import controls, embed
from llmcf.reports import cot
from tests.parrot import Parrot, run

pytestmark = pytest.mark.integration


@pytest.fixture
def written(language_model: Path, place: Workspace, model: Path, tmp_path: Path) -> Workspace:
    (tmp_path / "models").symlink_to(language_model.parents[1].resolve())  # with the encoder
    run(place, model, Parrot(), limit=40)
    return place


def test_a_page_shows_content_and_scores(written: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    embed.embed(written)
    assert "that was measured and kept" not in Path(cot.report(written).artifacts["report"]).read_text()
    done = cot.report(written, keep=True)
    cot.report(written, keep=True)
    (kept,) = measurements.read(measurements.file("cot", written.dataset))
    assert kept["figures"] == done.details
    assert kept["written"] == 40
    page = Path(done.artifacts["report"])
    assert done.details["texts"] == 40
    assert 0 < done.details["mrr_item"] <= 1
    assert done.details["flags"]["decision"] == 0
    row = f"| {kept['model']} | cot-5 | guided | strict | | {done.details['mrr_item']:.3f} |"
    assert row in re.sub(" +", " ", page.read_text())
    assert "The lowest, middle and highest scores" in page.read_text()
    assert (page.parent / "quality.svg").stat().st_size > 10_000


def test_a_control_is_measured_beside_the_texts(
    written: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    controls.control(written, "titles")
    with pytest.raises(LlmcfError, match="cot embed --set titles"):
        cot.report(written, cot_set="titles")
    embed.embed(written, cot_set="titles")
    done = cot.report(written, cot_set="titles", keep=True)
    (kept,) = measurements.read(measurements.file("cot", written.dataset))
    assert kept["set"] == "titles"
    assert "report cot --set titles " in kept["command"]
    assert done.details["mrr_item"] > 0.5, "a title finds its own item"


def test_only_new_texts_are_embedded(written: Workspace, model: Path) -> None:
    first = embed.embed(written)
    assert first.details["fresh"] == first.details["items"] + 40
    run(written, model, Parrot(), limit=50)
    second = embed.embed(written)
    assert (second.details["fresh"], second.details["texts"]) == (10, 50)


def test_representative_rows_need_the_items_vectors_first(written: Workspace, model: Path) -> None:
    with pytest.raises(LlmcfError, match="cot embed --items-only"):
        run(written, model, Parrot(), selection="representative", limit=12)
    embed.embed(written, items_only=True)
    assert run(written, model, Parrot(), selection="representative", limit=12).details["texts"] == 12
