"""`index list` and `index rollback`, `cot index --index` and queries of kind text, on a small workspace."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from core import schemas, steps, storage
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.settings import Workspace
from ict import milvus
from ict.examples import ExampleSet, rule
from ict.index import KIND, index
from ict.search import now, search
from ict.whole import FILE
from llmcf import indexes
from tests import in_memory

pytestmark = pytest.mark.integration

WIDTH = 24


@pytest.fixture
def ws(place: Workspace) -> Workspace:
    """A home of the test's own, with a CoT set of random vectors."""
    rows, items = tables.training_rows(place), len(tables.items(place))
    in_memory.write_cot_set(place, in_memory.example_set(rows, items=items))
    return place


def live(ws: Workspace) -> str | None:
    with milvus.connect(ws) as client:
        return milvus.live_version(client, ws, KIND)


def another_set(ws: Workspace) -> None:
    rows, items = tables.training_rows(ws), len(tables.items(ws))
    in_memory.write_cot_set(ws, in_memory.example_set(rows, count=50, items=items, seed=1), seed=1)


def test_the_list_tells_of_each_version(ws: Workspace) -> None:
    nothing = indexes.listing(ws).details
    assert nothing["versions"] == []
    assert "llmcf cot index --dataset movielens-100k" in nothing["text"]
    made = index(ws).details
    another_set(ws)
    index(ws, kind="hnsw")
    found = indexes.listing(ws).details
    told = [(one["version"], one["state"], one["rows"]) for one in found["versions"]]
    assert told == [(1, "before", 60), (2, "live", 50)]
    assert found["server"].startswith("Milvus Lite")
    assert found["versions"][0]["recall"]["key"]["time and label"] == 1.0
    assert made["recall"] == found["versions"][0]["recall"], "the verb shows it, too"
    assert made["until"] == tables.interactions(ws)["day"].to_numpy().max() + 1
    assert "HNSW m 16 ef_construction 200" in found["text"]
    assert index(ws).skipped, "the type that was asked for stays"
    assert "key 1.000 (no filter)" in found["text"]


def test_a_rollback_outlives_the_verb_that_published(ws: Workspace) -> None:
    first = index(ws).details["collection"]
    another_set(ws)
    second = index(ws).details["collection"]
    assert indexes.rollback(ws, "cot", None).details == {"kind": "cot", "live": first, "left": second}
    again = index(ws)
    assert again.skipped, "nothing has changed"
    assert again.details["collection"] == second, "a release of these data reads it all the same"
    assert live(ws) == first
    assert indexes.rollback(ws, "cot", 2).details["live"] == second
    with pytest.raises(UsageError, match="unknown kind of index 'users'; choose one of: cot, items"):
        indexes.rollback(ws, "users", None)
    with pytest.raises(UsageError, match="nothing is published as"):
        indexes.rollback(ws, "items", None)


def test_no_milvus_yet(ws: Workspace) -> None:
    with pytest.raises(Missing, match="has no index of kind items; run `llmcf export --dataset"):
        indexes.rollback(ws, "items", None)


def test_an_unknown_type_of_index_is_refused_before_anything_is_done(ws: Workspace) -> None:
    with pytest.raises(UsageError, match="unknown index type 'SCANN'"):
        index(ws, kind="scann")
    assert not ws.path("cot", "index").exists()


def test_an_empty_set_names_the_verb_and_leaves_what_is_live(ws: Workspace) -> None:
    first = index(ws).details["collection"]
    path = ws.path("cot", "texts", "texts.parquet")
    storage.write_table(path, pq.read_table(path).slice(0, 0), schemas.COT_TEXTS)
    stamp = storage.read_json(path.parent / steps.STAMP)
    storage.write_json(path.parent / steps.STAMP, {**stamp, "content": "other", "outputs": {}})
    with pytest.raises(LlmcfError, match=r"holds no chain of thought.*run `llmcf cot generate"):
        index(ws)
    assert live(ws) == first


def embedded_by(ws: Workspace, encoder: str, part: str = "vectors") -> None:
    """Let the stamp of a folder of vectors name an encoder."""
    path = ws.cot(part) / steps.STAMP
    stamp = storage.read_json(path)
    storage.write_json(path, {**stamp, "content": encoder, "config": {**stamp["config"], "hash": encoder}})


def test_a_search_with_vectors_of_another_encoder_than_the_index_is_refused(ws: Workspace) -> None:
    user, item = tables.users(ws)["raw_id"][3].as_py(), tables.items(ws)["raw_id"][5].as_py()
    first, other = "f00d" * 8, "beef" * 8
    embedded_by(ws, first)
    made = index(ws).details
    assert made["encoder"] == first
    assert len(search(ws, user=user, item=item).details["examples"]) == 4
    embedded_by(ws, other)
    with pytest.raises(UsageError, match=r"with the encoder f00df00df00d, and .* beefbeefbeef; run `llmcf cot index"):
        search(ws, user=user, item=item)
    again = index(ws).details
    assert (again["encoder"], again["collection"] != made["collection"]) == (other, True), "though no number changed"
    assert len(search(ws, user=user, item=item).details["examples"]) == 4


def test_whole_texts_of_another_encoder_than_the_index_are_refused(ws: Workspace) -> None:
    user, item = tables.users(ws)["raw_id"][3].as_py(), tables.items(ws)["raw_id"][5].as_py()
    query = np.ones((1, WIDTH), dtype=np.float32)
    whole_texts(ws)
    index(ws)
    embedded_by(ws, "beef" * 8, "whole")
    assert len(search(ws, user=user, item=item).details["examples"]) == 4, "which asks nothing of whole texts"
    with pytest.raises(UsageError, match=r"with the encoder invented, and .*whole with beefbeefbeef; run `llmcf cot"):
        search(ws, user=user, item=item, encode=lambda _: query)
    index(ws)
    assert len(search(ws, user=user, item=item, encode=lambda _: query).details["examples"]) == 4


def whole_texts(ws: Workspace) -> np.ndarray:
    """Random unit vectors as if an encoder had made them."""
    texts = storage.read_table(ws.path("cot", "texts", "texts.parquet"), schemas.COT_TEXTS, "")
    vectors = np.random.default_rng(0).normal(size=(len(texts), WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def write(folder: Path) -> dict[str, object]:
        save_file({"rows": texts["row"].to_numpy().astype(np.int64), "whole": vectors}, folder / FILE)
        return {}

    steps.run(steps.Step(folder=ws.cot("whole"), config={"encoder": "invented"}), write)
    return vectors


def test_queries_of_kind_text_find_what_the_exact_search_of_whole_texts_does(ws: Workspace) -> None:
    user, item = tables.users(ws)["raw_id"][3].as_py(), tables.items(ws)["raw_id"][5].as_py()
    query = np.random.default_rng(1).normal(size=(1, WIDTH)).astype(np.float32)
    asked: list[pa.Table] = []

    def encode(rows: pa.Table) -> np.ndarray:
        asked.append(rows)
        return query

    index(ws)
    with pytest.raises(UsageError, match="has no vectors 'whole'; run `llmcf cot index"):
        search(ws, user=user, item=item, encode=encode)
    vectors = whole_texts(ws)
    assert not index(ws).skipped, "there is more to search"
    found = search(ws, user=user, item=item, encode=encode).details
    examples = ExampleSet.load(ws)
    request = now(ws, int(tables.users(ws)["user"][3].as_py()), int(tables.items(ws)["item"][5].as_py()))
    assert asked[-1]["history"].to_pylist() == request.history_BL.tolist()
    assert asked[-1]["position"].to_pylist() == request.position_B.tolist()
    candidates = {name: getattr(examples, f"{name}_M")[1:].numpy() for name in ("user", "position", "day", "label")}
    score_M = vectors @ query[0]
    best = []
    for label in (1, 0):
        through = rule("strict", request, label).mask({"id": np.arange(len(score_M)), **candidates})
        best += (np.argsort(np.where(through, -score_M, np.inf), kind="stable")[:2] + 1).tolist()
    assert sorted(shown["example"] for shown in found["examples"]) == sorted(best)
    assert found["queries"] == "text"
    assert search(ws, user=user, item=item).details["queries"] == "factorised"


def test_the_verbs_on_each_milvus(ws: Workspace, each_milvus: str) -> None:
    made = index(ws).details
    assert made["rows"] == 60
    assert made["recall"]["key"]["time and label"] == 1.0
    assert index(ws).skipped
    user, item = tables.users(ws)["raw_id"][3].as_py(), tables.items(ws)["raw_id"][5].as_py()
    found = search(ws, user=user, item=item).details
    assert len(found["examples"]) == 4
    texts = storage.read_table(ws.path("cot", "texts", "texts.parquet"), schemas.COT_TEXTS, "")["text"].to_pylist()
    assert [shown["text"] for shown in found["examples"]] == [
        texts[shown["example"] - 1] for shown in found["examples"]
    ]
    (listed,) = indexes.listing(ws).details["versions"]
    assert (listed["collection"], listed["state"]) == (made["collection"], "live")
    assert listed["server"].startswith("Milvus Lite" if each_milvus == "lite" else "Milvus server")
