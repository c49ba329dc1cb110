"""A new item, user and event reach a running service of trained models, in whose home there is no language model."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch

from core import settings
from core.data import tables
from core.errors import LlmcfError
from core.settings import Workspace
from ict.examples import ExampleSet
from llm import fetch, models
from llm.cot.embed import embed
from llmcf.feature_store import jobs
from llmcf.serving import export
from llmcf.serving.assemble import Choice
from ranking import trainer as ranking_trainer
from retrieval_stage import trainer as retrieval_trainer
from tests.in_memory import item_vectors, write_cot_set
from tests.official_files import prepared, write
from tests.running_service import Running, run_service

pytestmark = pytest.mark.integration

WITHIN_S = 2.0
TITLE = "Tale of 8"  # as one that there is


@pytest.fixture(scope="module")
def ws(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A small world with a ranker and a tower of LLM-CF, whose texts the carried encoder has read."""
    try:
        fetch.fetch()
    except LlmcfError as error:
        pytest.skip(f"the carried models cannot be fetched: {error}")
    encoder = models.encoder_path(models.ENCODER)
    with pytest.MonkeyPatch.context() as patch:
        own = tmp_path_factory.mktemp("home")
        patch.setenv("LLMCF_HOME", str(own))
        patch.setenv("LLMCF_RUNS", str(own / "runs"))
        patch.setenv("LLMCF_TRITON_MODELS", str(own / "triton"))
        place = own / encoder.relative_to(home)
        place.parent.mkdir(parents=True)
        place.symlink_to(encoder.resolve())
        yield released(prepared(Workspace("movielens-100k", "shuffled-ties"), write(own / "source")))


def released(ws: Workspace) -> Workspace:
    rows = tables.training_rows(ws)
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::5].copy())
    cot = torch.zeros(len(sample), 16)  # of the vectors, which are made by the encoder below
    write_cot_set(ws, ExampleSet.of(rows, sample, cot, item_vectors(items=tables.items(ws).num_rows)))
    embed(ws)
    jobs.apply(ws)
    jobs.materialize(ws)
    ranking_trainer.train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=1, epochs=1)
    retrieval_trainer.train(ws, model="sasrec", framework="llm-cf", recipe="best", seed=1, epochs=1)
    chosen = {"framework": "llm-cf", "seed": 1}
    export.export(
        ws, Choice(backbone="deepfm", recipe="strict", **chosen), Choice(backbone="sasrec", recipe="best", **chosen)
    )
    return ws


@pytest.fixture(scope="module")
def service(ws: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(ws.dataset, tmp_path_factory.mktemp("service") / "log", "--workers", "2") as running:
        assert running.said("intake of movielens-100k is ready", 120)
        yield running


def within(seen: Callable[[], bool], start: float) -> None:
    while not seen():
        assert time.monotonic() - start < WITHIN_S
        time.sleep(0.02)


def asked(service: Running, **body: Any) -> dict[str, Any]:
    answer = service.http.post("/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_new_item_user_and_event_count_at_once_without_a_language_model(service: Running, ws: Workspace) -> None:
    assert not (settings.home() / "models" / "llm").exists()
    items = tables.items(ws)["raw_id"].to_pylist()
    new = {"id": "tale/new", "title": TITLE, "categories": ["Drama"]}
    took = items[7]

    start = time.monotonic()
    assert service.http.post("/items", json={"items": [new]}).status_code == 202
    assert service.http.post("/users", json={"users": [{"id": "somebody"}]}).status_code == 202
    event = {"id": "first", "kind": "interaction", "user": "somebody", "item": took}
    assert service.http.post("/events", json={"events": [event]}).json()["events"][0]["status"] == "accepted"
    within(lambda: service.http.get(f"/items/{quote('tale/new', safe='')}/similar").status_code == 200, start)
    within(lambda: asked(service, user="somebody")["served_by"]["rung"] == "full", start)

    def found_by_the_search() -> bool:
        answer = asked(service, user="somebody", k=100, explain=True)
        return "tale/new" in [one["item"] for one in answer["items"]]

    within(found_by_the_search, start)
    for_them = asked(service, user="somebody", k=5, explain=True)
    assert took not in [one["item"] for one in for_them["items"]]
    assert all(one["reason"]["examples"] for one in for_them["items"]), "each with in-context examples"
    of_it = asked(service, user="somebody", k=1, explain=True, filters={"allow": ["tale/new"]})["items"]
    assert [(one["item"], one["title"]) for one in of_it] == [("tale/new", TITLE)]
    reason = of_it[0]["reason"]
    assert 0 < of_it[0]["score"] < 1
    assert len(reason["examples"]) == 4
    assert reason["example_share"] != 0, "w has a part in its score"

    second = {"id": "second", "kind": "interaction", "user": "somebody", "item": "tale/new"}
    start = time.monotonic()
    assert service.http.post("/events", json={"events": [second]}).json()["events"][0]["status"] == "accepted"
    within(lambda: service.http.get("/users/somebody").json()["history"][-1]["item"] == "tale/new", start)
    assert "tale/new" not in [one["item"] for one in asked(service, user="somebody", k=100)["items"]]
