"""A release whose collections are gone is not made live: it could not be served."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.contracts import RETRIEVAL_WIDTH
from core.errors import Missing
from core.settings import Workspace
from ict import milvus
from llmcf.serving import held, listing, releases
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    return Workspace("movielens-100k", "published")


def test_a_release_that_milvus_does_not_hold_is_not_promoted(ws: Workspace) -> None:
    first = write_release(ws)
    write_release(ws, collections={"cot": "lost_v1", "items": "lost_v2"}, live=False)
    with pytest.raises(Missing, match="Milvus does not hold lost_v1, lost_v2 any more, which release 2 of"):
        listing.promote(ws.dataset, 2)
    live = releases.live(ws.dataset)
    assert live is not None
    assert live.number == first.number


def test_what_is_held_passes(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        client.create_collection("held_v1", dimension=RETRIEVAL_WIDTH)
    held.check(write_release(ws, collections={"items": "held_v1"}))


def test_a_release_whose_items_are_of_another_width_is_not_promoted(ws: Workspace) -> None:
    first = write_release(ws)
    with milvus.connect(ws) as client:
        client.create_collection("other_v1", dimension=4)
    write_release(ws, collections={"items": "other_v1"}, live=False)
    with pytest.raises(
        Missing, match=r"other_v1 holds vectors of 4 numbers, and release 2 of .* with 64; run `llmcf exp"
    ):
        listing.promote(ws.dataset, 2)
    live = releases.live(ws.dataset)
    assert live is not None
    assert live.number == first.number


def test_the_remedy_of_a_refreshed_release_names_one_that_is_there(ws: Workspace) -> None:
    release = replace(write_release(ws), number=7, refreshed=2)
    assert "llmcf release refresh --dataset movielens-100k --release 7 " in release.remedy
