"""What Milvus holds must go with the release that names it; Milvus is played."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from core.contracts import RETRIEVAL_WIDTH
from core.errors import Missing
from core.settings import Workspace
from ict import milvus
from llmcf.serving import assemble, held, loading
from llmcf.serving.assemble import Plan
from llmcf.serving.manifest import Release
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
ENCODER = "all-minilm@f00df00df00d"
DIGEST = "f00d" * 16
NAMES = {"cot": "cot_v1", "items": "items_v1"}


class Played:
    """Says of each collection what a test wants: the encoder of its account, and the width of the items."""

    def __init__(self, *, cot: str = DIGEST, items: str = "", width: int = RETRIEVAL_WIDTH) -> None:
        self.encoders, self.width = {"cot_v1": cot, "items_v1": items}, width

    def list_collections(self) -> list[str]:
        return list(self.encoders)

    def describe_collection(self, name: str) -> dict[str, Any]:
        account = json.dumps({"encoder": self.encoders[name]})
        fields = [{"name": "id", "params": {}}, {"name": "vector", "params": {"dim": self.width}}]
        return {"fields": fields, "properties": {"llmcf.account": account}}


@pytest.fixture
def release(repository: Path) -> Release:
    return write_release(WS, collections=NAMES, encoder=ENCODER)


@pytest.mark.parametrize(
    "told", [{}, {"cot": "all-minilm"}, {"cot": ""}, {"items": DIGEST}, {"items": "all-minilm"}], ids=str
)
def test_what_goes_with_it_passes(release: Release, told: dict[str, Any]) -> None:
    held.require(cast(Any, Played(**told)), release)
    for unknown in ("", "@", "a name without a digest"):
        held.require(cast(Any, Played(**told)), replace(release, encoder=unknown))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"cot": "beef" * 16}, f"cot_v1 is by the encoder {'beef' * 16}, and release 1 of .* by {ENCODER}"),
        ({"cot": "bge"}, f"cot_v1 is by the encoder bge, and release 1 of .* by {ENCODER}"),
        ({"items": "bge"}, f"items_v1 is by the encoder bge, and release 1 of .* by {ENCODER}"),
        ({"width": 81}, f"items_v1 holds vectors of 81 numbers, and release 1 of .* searches with {RETRIEVAL_WIDTH}"),
    ],
)
def test_a_release_that_does_not_go_with_what_is_held_is_not_loaded(
    release: Release, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], words: str
) -> None:
    @contextmanager
    def connect(_: Workspace) -> Iterator[Any]:
        yield Played(**told)

    monkeypatch.setattr(milvus, "connect", connect)
    with pytest.raises(held.Unfit, match=rf"{words}; run `llmcf export --dataset movielens-100k"):
        loading.collections(release)
    plan = Plan(ws=WS, source=release.source, choices={}, write={}, collections={})
    assert assemble.current(plan) is None, "the verb that is named makes it anew"


def test_what_does_not_matter_is_not_asked(release: Release) -> None:
    held.require(cast(Any, Played(cot="bge")), release, "items")


def test_what_is_gone_is_only_missing(release: Release) -> None:
    gone = replace(release, collections={**NAMES, "cot": "cot_v0"})
    with pytest.raises(Missing, match="does not hold cot_v0 any more") as caught:
        held.require(cast(Any, Played()), gone)
    assert not isinstance(caught.value, held.Unfit), "without it a service goes on"
