"""The online path over a real Triton, Milvus and CoT index; Feast is answered from the prepared tables."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.contracts import DENSE, FIRST_ID, HISTORY, RETRIEVAL_WIDTH, UNKNOWN
from core.data import tables, vocabulary
from core.errors import Missing, UsageError
from core.settings import Workspace
from ict import milvus
from llmcf.serving import recommend, releases, serve
from llmcf.serving.manifest import Release
from llmcf.serving.newcomers import Newcomers
from llmcf.serving.pruning import drop_unnamed, prune
from llmcf.serving.question import Question
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_server import Server
from retrieval_stage import items
from tests.online_release import make_release
from tests.triton_counts import counted

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        make_release(own, seed=0)
        yield own


@pytest.fixture
def release(ws: Workspace) -> Release:
    return releases.read(ws.dataset, 1)


@pytest.fixture(scope="module")
def server(ws: Workspace) -> Iterator[Server]:
    with serve.connect(releases.read(ws.dataset, 1)) as running:
        yield running


@pytest.fixture
def client(server: Server, release: Release) -> Iterator[Client]:
    with Client(server, release.stages) as connected:
        yield connected


@pytest.fixture
def recommender(release: Release, monkeypatch: pytest.MonkeyPatch) -> Recommender:
    monkeypatch.setattr("llmcf.online.reader.OnlineFeatures", PreparedFeatures)
    return Recommender.load(release)


def test_items_come_best_first_and_none_was_taken_before(
    ws: Workspace, client: Client, recommender: Recommender
) -> None:
    user = tables.users(ws)["raw_id"][3].as_py()
    told = {}

    def infer(model: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        told[model] = client.infer(model, arrays)
        return told[model]

    answer = recommender.recommend(cast(Any, SimpleNamespace(infer=infer)), user, 10)
    score_C = np.array([item.score for item in answer.items])
    assert len(score_C) == 10
    exact, rows = recommender.items.exact, [recommender.catalogue.rows[item.item] for item in answer.items]
    assert recommender.search.graph is None
    found_C = exact.vectors_NX[np.searchsorted(exact.ids_N, rows)] @ told["user_vector"]["vector"][0]
    worth_C = np.log(score_C / (1 - score_C)) + found_C
    assert (np.diff(worth_C) < 1e-4).all(), "of both stages together"
    row = recommender.users.row_of(user)
    assert row is not None
    taken = {recommender.catalogue.item_ids[item] for item in recommender.taken(row).tolist()}
    assert taken
    assert not taken & {item.item for item in answer.items}
    assert len({item.item for item in answer.items}) == 10
    assert not answer.cold_start


def test_the_evidence_is_what_the_ranker_was_given(client: Client, recommender: Recommender, ws: Workspace) -> None:
    user = tables.users(ws)["raw_id"][5].as_py()
    answer = recommender.recommend(client, user, 5)
    for item in answer.items:
        assert 1 <= len(item.evidence) <= 4
        similarities = [evidence.similarity for evidence in item.evidence]
        assert similarities == sorted(similarities, reverse=True)
        for evidence in item.evidence:
            assert evidence.text == f"text {evidence.example}"
            assert evidence.title in recommender.catalogue.names.values()
        assert {evidence.liked for evidence in item.evidence} == {True, False}


def test_every_stage_is_timed(client: Client, recommender: Recommender, ws: Workspace) -> None:
    answer = recommender.recommend(client, tables.users(ws)["raw_id"][0].as_py(), 1)
    assert {"features", "user vector", "item search", "examples", "ranker"} <= set(answer.milliseconds)
    assert all(taken >= 0 for taken in answer.milliseconds.values())


def test_an_unknown_user_gets_popular_items_and_a_note(client: Client, recommender: Recommender) -> None:
    answer = recommender.recommend(client, "no such user", 3)
    assert answer.cold_start
    assert "cold start" in answer.note
    expected = [recommender.catalogue.item_ids[item] for item in recommender.features.popular(3)]
    assert [item.item for item in answer.items] == expected
    assert all(item.score is None for item in answer.items)


def test_a_user_and_an_item_newer_than_the_release_are_served_as_unknown(
    ws: Workspace, client: Client, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = vocabulary.grow(ws.dataset, "users", ["newcomer"])["newcomer"]
    item = vocabulary.grow(ws.dataset, "items", ["novelty"])["novelty"]
    assert user >= recommender.release.users_end
    assert item >= recommender.release.items_end
    old = tables.items(ws)["item"].to_pylist()[:3]
    states = {user: {"history": [0] * (HISTORY - 4) + [*old, item], "activity": float(np.log1p(4))}}
    monkeypatch.setattr(recommender.features, "user", states.get)
    answer = recommender.recommend(client, "newcomer", 10)
    assert not answer.cold_start
    assert len(answer.items) == 10
    assert not {found.item for found in answer.items} & {recommender.catalogue.item_ids[row] for row in old}
    assert all(found.evidence for found in answer.items)


def test_an_item_of_a_moment_ago_is_ranked_by_its_facts_with_examples_of_its_own(
    ws: Workspace, client: Client, recommender: Recommender
) -> None:
    row, old = recommender.release.items_end + 5, tables.items(ws)["item"][3].as_py()
    text_1E = np.eye(1, 16, 3, dtype=np.float32)
    new = Newcomers(
        row_N=np.array([row]),
        raw_ids=["fresh"],
        names=["Fresh"],
        brands=[""],
        categories=[[]],
        brand_N=np.array([4]),
        categories_NC=np.array([[2, 3, 0, 0, 0, 0]]),
        text_NE=text_1E,
    )
    asked = Question(user=tables.users(ws)["raw_id"][2].as_py(), candidates=[old, row], with_seen=True)
    extended = recommender.with_newcomers(new)
    ranked = extended.rank(client, asked)
    at = ranked.item_C.tolist().index(row)
    found = extended.item(ranked, at, with_evidence=True)
    assert (found.item, found.title) == ("fresh", "Fresh")
    assert len(found.evidence) == 4
    assert ranked.person is not None
    assert ranked.score_C is not None
    assert ranked.shown is not None
    told = {
        "user": np.array([ranked.person.user]),
        "history": ranked.person.history_L[None],
        "item": np.array([UNKNOWN]),
        "dense": np.full((1, len(DENSE)), ranked.person.state["activity"], dtype=np.float32),
        "examples": ranked.shown.examples_CK[at : at + 1],
        "similarity": ranked.shown.similarity_CK[at : at + 1],
        "brand": np.array([4]),
        "categories": np.array([[2, 3, 0, 0, 0, 0]]),
        "text": text_1E,
    }
    assert ranked.score_C[at] == pytest.approx(client.infer("ranker", told)["score"][0], abs=1e-6)
    alone = recommender.rank(client, replace(asked, candidates=[old]))
    assert alone.score_C is not None
    assert ranked.score_C[1 - at] == pytest.approx(alone.score_C[0], abs=1e-6), "the known item's score is its own"


def test_all_candidates_are_ranked_in_one_request(client: Client, recommender: Recommender, ws: Workspace) -> None:
    before = client.executions("ranker")
    recommender.recommend(client, tables.users(ws)["raw_id"][1].as_py(), 2)
    assert counted(client, "ranker", before[0] + 1) == (before[0] + 1, before[1] + 1)


def reading(release: Release, *names: str) -> Release:
    """The release as if its graphs read these inputs only."""
    stages = {
        model: replace(stage, inputs=tuple(one for one in stage.inputs if one.name in names))
        for model, stage in release.stages.items()
    }
    return replace(release, stages=stages)


def test_what_no_graph_reads_is_not_looked_up(ws: Workspace, client: Client, recommender: Recommender) -> None:
    without = replace(recommender, release=reading(recommender.release, "user"))
    answer = without.recommend(client, tables.users(ws)["raw_id"][1].as_py(), 3)
    assert all(not item.evidence for item in answer.items)
    assert not without.features.asked_items  # pyright: ignore[reportAttributeAccessIssue]


def test_somebody_who_took_everything_gets_an_empty_answer_and_others_theirs(
    ws: Workspace, client: Client, recommender: Recommender
) -> None:
    first, second = tables.users(ws)["raw_id"].to_pylist()[:2]
    everything = tables.items(ws)["item"].to_numpy()
    row = recommender.users.row_of(first)
    greedy = replace(recommender, taken=lambda user: everything if user == row else recommender.taken(user))
    nothing, some = (greedy.recommend(client, user, 5) for user in (first, second))
    assert not nothing.items
    assert "nothing is left" in nothing.note
    assert len(some.items) == 5


def test_what_was_taken_long_ago_does_not_come_back(ws: Workspace, client: Client, recommender: Recommender) -> None:
    user = tables.users(ws)["raw_id"][2].as_py()
    best = recommender.recommend(client, user, 1).items[0].item
    row = next(row for row, raw_id in recommender.catalogue.item_ids.items() if raw_id == best)
    more = replace(recommender, taken=lambda user: np.append(recommender.taken(user), row))
    assert best not in {item.item for item in more.recommend(client, user, 100).items}, "though no history names it"


def test_the_verb_answers_for_several_users(ws: Workspace, recommender: Recommender, release: Release) -> None:
    users = [*tables.users(ws)["raw_id"][:2].to_pylist(), "stranger"]
    result = recommend.recommend(release, users=users, k=4)
    assert [answer["user"] for answer in result.details["answers"]] == users
    assert [answer["cold_start"] for answer in result.details["answers"]] == [False, False, True]
    for answer in result.details["answers"]:
        assert len(answer["items"]) == 4
        assert answer["items"][0]["title"] in result.details["text"]


def test_more_items_than_there_are_is_refused(ws: Workspace, recommender: Recommender, release: Release) -> None:
    with pytest.raises(UsageError, match=rf"k 90 is above the {tables.items(ws).num_rows} items that release 1 can"):
        recommend.recommend(release, users=["1"], k=90)


@pytest.mark.parametrize("kind", ["cot", "items"])
def test_a_release_whose_collections_are_gone_is_refused(release: Release, recommender: Recommender, kind: str) -> None:
    stale = replace(release, collections={**release.collections, kind: "older_v1"})
    with pytest.raises(Missing, match=r"older_v1.*llmcf export"):
        Recommender.load(stale)


def answers(ws: Workspace) -> list[dict[str, Any]]:
    """What the live release says to some people: items, scores, evidence."""
    users = tables.users(ws)["raw_id"].to_pylist()[:4]
    given = recommend.recommend(releases.require(ws.dataset), users=users, k=10).details["answers"]
    return [{name: value for name, value in answer.items() if name != "milliseconds"} for answer in given]


def test_rolling_back_over_two_releases_gives_the_answers_of_before(
    ws: Workspace, recommender: Recommender, release: Release
) -> None:
    """Each release has examples, item vectors and weights of its own; the later ones are indexed over the first."""
    releases.promote(release)
    before = answers(ws)
    for seed in (1, 2):
        make_release(ws, seed)
        prune(ws.dataset)
    newest = answers(ws)
    assert newest != before
    assert [releases.rollback(ws.dataset).number for _ in range(2)] == [2, 1]
    assert answers(ws) == before
    releases.promote(releases.read(ws.dataset, 3))
    assert answers(ws) == newest


def test_what_lies_in_the_workspace_today_changes_no_answer(
    ws: Workspace, recommender: Recommender, release: Release
) -> None:
    """The next day's data, vectors and index come while the release serves, even to a service that starts only then."""
    releases.promote(release)
    before = answers(ws)
    more = vocabulary.grow(ws.dataset, "items", ["of tomorrow"])["of tomorrow"]
    path = ws.path("data", "items.parquet")
    table = pq.read_table(path)
    newer = table.slice(0, 1).set_column(0, "item", pa.array([more])).set_column(1, "raw_id", pa.array(["of tomorrow"]))
    renamed = pa.concat_tables([table, newer.cast(table.schema)]).set_column(
        table.schema.get_field_index("title"), "title", pa.array(["another name"] * (len(table) + 1))
    )
    kept, folder = path.read_bytes(), ws.path("cot")
    shutil.copytree(folder, folder.with_name("cot.kept"))
    try:
        pq.write_table(renamed, path)
        shutil.rmtree(folder / "vectors")
        assert answers(ws) == before
    finally:
        path.write_bytes(kept)
        shutil.rmtree(folder)
        folder.with_name("cot.kept").rename(folder)


def test_versions_that_no_release_names_are_dropped(ws: Workspace, release: Release) -> None:
    one = np.ones((1, RETRIEVAL_WIDTH), dtype=np.float32)
    old, *kept = [items.publish(ws, np.array([FIRST_ID]), scale * one) for scale in (1, 2, 3)]
    with milvus.connect(ws) as client:
        before = milvus.names(client)
    named = {name for claim in releases.claims(ws.dataset) for name in claim.collections}
    dropped = drop_unnamed(ws, named)
    with milvus.connect(ws) as client:
        left = milvus.names(client)
    assert dropped == [old]
    assert left == before - {old}
    assert set(kept) <= left, "the live one, and the one before it"
    assert set(release.collections.values()) <= named <= left
