"""The online path over a real Triton, Milvus and CoT index; Feast is answered from the prepared tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import settings
from core.contracts import DENSE, FIRST_ID, HISTORY, RETRIEVAL_WIDTH
from core.data import tables, vocabulary
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ict.examples import ExampleSet
from ict.index import index
from llmcf.serving import recommend, releases, serve
from llmcf.serving.recommender import CANDIDATES, Recommender
from llmcf.serving.releases import Release
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_server import Server
from retrieval_stage import items
from tests.in_memory import item_vectors, write_cot_set
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration


class PreparedFeatures:
    """What Feast would answer after `features materialize`, read from the prepared tables."""

    def __init__(self, ws: Workspace) -> None:
        interactions = tables.interactions(ws)
        self._user, self._item = (interactions[name].to_numpy() for name in ("user", "item"))
        self.asked_items: list[int] = []

    def user(self, user: int) -> dict[str, Any] | None:
        taken = self._item[self._user == user].tolist()
        history = [0] * HISTORY + taken
        return {"history": history[-HISTORY:], "activity": float(np.log1p(len(taken)))} if taken else None

    def today(self) -> int:
        return 20_000

    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> np.ndarray:
        self.asked_items = list(items)
        return np.full((len(items), len(DENSE)), user["activity"], dtype=np.float32)

    def popular(self, count: int) -> list[int]:
        return (np.argsort(-np.bincount(self._item), kind="stable")[:count]).tolist()


@pytest.fixture(scope="module")
def ws(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A copy of the tiny workspace with examples, item vectors and a release of invented weights."""
    models, count = tmp_path_factory.mktemp("models"), tables.items(own).num_rows
    rows = tables.training_rows(own)
    sample = np.flatnonzero(rows["split"].to_numpy() == "train")[::5]
    write_examples(own, rows, sample, count)
    collection = index(own).details["collection"]
    vectors = np.random.default_rng(0).standard_normal((count, RETRIEVAL_WIDTH), dtype=np.float32)
    published = items.publish(own, np.arange(count) + FIRST_ID, vectors)
    write_release(models, own, collections={"cot": collection, "items": published})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(models))
        yield own


def write_examples(ws: Workspace, rows: Any, sample: np.ndarray, count: int) -> None:
    import torch

    cot = torch.nn.functional.normalize(torch.randn(len(sample), 16), dim=-1)
    write_cot_set(ws, ExampleSet.of(rows, torch.from_numpy(sample), cot, item_vectors(items=count)))


@pytest.fixture(scope="module")
def server(ws: Workspace) -> Iterator[Server]:
    release = releases.require(ws)
    with serve.connect(release) as running:
        yield running


@pytest.fixture
def release(ws: Workspace) -> Release:
    return releases.require(ws)


@pytest.fixture
def recommender(ws: Workspace, release: Release, monkeypatch: pytest.MonkeyPatch) -> Recommender:
    monkeypatch.setattr("llmcf.online.reader.OnlineFeatures", PreparedFeatures)
    return Recommender.load(ws, release)


def test_items_come_best_first_and_none_was_taken_before(
    ws: Workspace, server: Server, recommender: Recommender
) -> None:
    user = tables.users(ws)["raw_id"][3].as_py()
    with Client(server) as client:
        answer = recommender.recommend(client, user, 10)
    scores = [item.score for item in answer.items]
    assert len(scores) == 10
    assert scores == sorted(scores, key=lambda score: -(score or 0.0))
    row = recommender.catalogue.users[user]
    taken = {recommender.catalogue.item_ids[item] for item in recommender.catalogue.taken[row].tolist()}
    assert not taken & {item.item for item in answer.items}
    assert len({item.item for item in answer.items}) == 10
    assert not answer.cold_start


def test_the_evidence_is_what_the_ranker_was_given(server: Server, recommender: Recommender, ws: Workspace) -> None:
    user = tables.users(ws)["raw_id"][5].as_py()
    with Client(server) as client:
        answer = recommender.recommend(client, user, 5)
    for item in answer.items:
        assert 1 <= len(item.evidence) <= 4
        similarities = [evidence.similarity for evidence in item.evidence]
        assert similarities == sorted(similarities, reverse=True)
        for evidence in item.evidence:
            assert evidence.text == f"text {evidence.example}"
            assert evidence.title in recommender.catalogue.titles.values()
        assert {evidence.liked for evidence in item.evidence} == {True, False}


def test_every_stage_is_timed(server: Server, recommender: Recommender, ws: Workspace) -> None:
    with Client(server) as client:
        answer = recommender.recommend(client, tables.users(ws)["raw_id"][0].as_py(), 1)
    assert {"features", "user vector", "item search", "examples", "ranker"} <= set(answer.milliseconds)
    assert all(taken >= 0 for taken in answer.milliseconds.values())


def test_an_unknown_user_gets_popular_items_and_a_note(server: Server, recommender: Recommender) -> None:
    with Client(server) as client:
        answer = recommender.recommend(client, "no such user", 3)
    assert answer.cold_start
    assert "cold start" in answer.note
    expected = [recommender.catalogue.item_ids[item] for item in recommender.features.popular(3)]
    assert [item.item for item in answer.items] == expected
    assert all(item.score is None for item in answer.items)


def test_a_user_and_an_item_newer_than_the_release_are_served_as_unknown(
    ws: Workspace, server: Server, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = vocabulary.grow(ws.dataset, "users", ["newcomer"])["newcomer"]
    item = vocabulary.grow(ws.dataset, "items", ["novelty"])["novelty"]
    assert user >= recommender.catalogue.users_end
    assert item >= recommender.catalogue.items_end
    old = tables.items(ws)["item"].to_pylist()[:3]
    states = {user: {"history": [0] * (HISTORY - 4) + [*old, item], "activity": float(np.log1p(4))}}
    monkeypatch.setattr(recommender.features, "user", states.get)
    with Client(server) as client:
        answer = recommender.recommend(client, "newcomer", 10)
    assert not answer.cold_start
    assert len(answer.items) == 10
    assert not {found.item for found in answer.items} & {recommender.catalogue.item_ids[row] for row in old}
    assert all(found.evidence for found in answer.items)


def test_all_candidates_are_ranked_in_one_request(server: Server, recommender: Recommender, ws: Workspace) -> None:
    with Client(server) as client:
        before = client.executions("ranker")
        recommender.recommend(client, tables.users(ws)["raw_id"][1].as_py(), 2)
        assert client.executions("ranker") == (before[0] + 1, before[1] + 1)


def test_what_no_graph_reads_is_not_looked_up(ws: Workspace, server: Server, recommender: Recommender) -> None:
    without = replace(recommender, reads={model: frozenset({"user"}) for model in recommender.reads})
    with Client(server) as client:
        answer = without.recommend(client, tables.users(ws)["raw_id"][1].as_py(), 3)
    assert all(not item.evidence for item in answer.items)
    assert not without.features.asked_items  # pyright: ignore[reportAttributeAccessIssue]


def test_the_verb_answers_for_several_users(ws: Workspace, recommender: Recommender) -> None:
    users = [*tables.users(ws)["raw_id"][:2].to_pylist(), "stranger"]
    result = recommend.recommend(ws, users=users, k=4)
    assert [answer["user"] for answer in result.details["answers"]] == users
    assert [answer["cold_start"] for answer in result.details["answers"]] == [False, False, True]
    for answer in result.details["answers"]:
        assert len(answer["items"]) == 4
        assert answer["items"][0]["title"] in result.details["text"]


@pytest.mark.parametrize(("k", "users"), [(0, ["1"]), (CANDIDATES + 1, ["1"]), (3, [])])
def test_a_wrong_request_is_refused(ws: Workspace, k: int, users: list[str]) -> None:
    with pytest.raises(UsageError):
        recommend.recommend(ws, users=users, k=k)


def test_a_release_made_with_other_examples_is_refused(
    ws: Workspace, release: Release, recommender: Recommender
) -> None:
    stale = replace(release, collections={**release.collections, "cot": "older_v1"})
    with pytest.raises(LlmcfError, match=r"older_v1.*llmcf export"):
        Recommender.load(ws, stale)


def test_a_release_whose_item_vectors_are_gone_is_refused(
    ws: Workspace, release: Release, recommender: Recommender
) -> None:
    stale = replace(release, collections={**release.collections, "items": "older_v1"})
    with pytest.raises(LlmcfError, match=r"older_v1.*llmcf export"):
        Recommender.load(ws, stale)


def test_without_a_release_the_verb_is_named(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path))
    with pytest.raises(LlmcfError, match="llmcf export"):
        recommend.recommend(ws, users=["1"], k=3)
    assert settings.triton_models() == tmp_path
