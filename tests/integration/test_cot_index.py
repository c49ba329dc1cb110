"""`cot index` and `cot search` on a small workspace."""

import shutil

import pytest

from core.data import tables
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ict import milvus
from ict.index import KIND, index
from ict.search import search
from tests import in_memory

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ws(own: Workspace) -> Workspace:
    """A copy of the tiny workspace with a CoT set of random vectors."""
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    return own


def live(ws: Workspace) -> str | None:
    with milvus.connect(ws) as client:
        return milvus.live_version(client, ws, KIND)


def test_search_before_index_names_the_verb(ws: Workspace) -> None:
    user, item = tables.users(ws)["raw_id"][0].as_py(), tables.items(ws)["raw_id"][0].as_py()
    with pytest.raises(LlmcfError, match="run `llmcf cot index --dataset movielens-100k"):
        search(ws, user=user, item=item)


def test_index_runs_once_and_again_if_the_collection_is_gone(ws: Workspace) -> None:
    first = index(ws)
    assert first.details["count"] == 60
    assert live(ws) == first.details["collection"]
    assert index(ws).skipped
    shutil.rmtree(ws.path("milvus.db"))
    again = index(ws)
    assert not again.skipped
    assert live(ws) == again.details["collection"]


def test_an_emptied_milvus_is_filled_again(ws: Workspace) -> None:
    index(ws)
    shutil.rmtree(ws.path("milvus.db"))
    assert live(ws) is None, "to look makes an empty one"
    again = index(ws)
    assert not again.skipped
    assert live(ws) == again.details["collection"]
    assert index(ws).skipped


def test_search_shows_earlier_examples_of_both_labels_with_their_texts(ws: Workspace) -> None:
    index(ws)
    user, item = tables.users(ws)["raw_id"][3].as_py(), tables.items(ws)["raw_id"][5].as_py()
    found = search(ws, user=user, item=item).details
    assert found["title"] == tables.items(ws)["title"][5].as_py()
    assert [shown["label"] for shown in found["examples"]].count("liked") == 2
    assert len(found["examples"]) == 4
    for shown in found["examples"]:
        assert shown["text"] == f"text {shown['example']}"
        assert -1 <= shown["similarity"] <= 1
        assert shown["title"] in tables.items(ws)["title"].to_pylist()
    assert search(ws, user=user, item=item).details == found


@pytest.mark.parametrize(("user", "item"), [("nobody", "1"), ("1", "nothing")])
def test_unknown_ids_are_usage_errors_that_show_what_ids_look_like(ws: Workspace, user: str, item: str) -> None:
    with pytest.raises(UsageError, match=r"unknown (user 'nobody'|item 'nothing'); this data set has \d+"):
        search(ws, user=user, item=item)
