"""What recipe `best` of the retrieval stage measures is what its release serves, to the last candidate."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from core import steps, storage
from core.contracts import FIRST_ID
from core.data import tables
from core.errors import Missing
from core.settings import Workspace
from ict import milvus
from ict.exact import Exact
from ict.examples import ExampleSet
from llmcf.feature_store import registry
from llmcf.serving import export, manifest, refresh, releases
from llmcf.serving.assemble import Choice
from llmcf.serving.manifest import Release
from llmcf.serving.question import Person, Question, Stopwatch
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_server import run_triton
from ranking import trainer as ranking_trainer
from retrieval_stage import controls, evaluation, transition_graph, unseen_items
from retrieval_stage import trainer as retrieval_trainer
from retrieval_stage.blend import Blend
from retrieval_stage.evaluation import Score
from retrieval_stage.export import restore
from retrieval_stage.inputs import TowerData
from retrieval_stage.items import ItemReplica
from retrieval_stage.recipes import resolve
from retrieval_stage.text_map import TextMap
from tests.in_memory import item_vectors, write_cot_set
from tests.official_files import prepared, write

pytestmark = pytest.mark.integration

RANKER = Choice(backbone="deepfm", framework="none", recipe="strict", seed=1)
WEIGHTS = {"graph": 2.0, "text": 4.0, "unseen": 1.5}  # large enough to change every answer


class RowFeatures:
    """What Feast would answer a user at one test row."""

    def __init__(self, data: TowerData) -> None:
        sequences = data.sequences
        self.row_of = {int(sequences.user_N[row]): int(row) for row in sequences.of_split("test")}
        self.sequences, self.day = sequences, 0

    def user(self, user: int) -> dict[str, Any] | None:
        row = self.row_of[user]
        self.day = int(self.sequences.day_N[row])
        activity = float(np.log1p(int(self.sequences.position_N[row])))
        return {"history": self.sequences.history_NL[row].tolist(), "activity": activity}

    def today(self) -> int:
        return self.day

    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> np.ndarray:
        raise AssertionError("no ranker is asked")

    def popular(self, count: int) -> list[int]:
        raise AssertionError("every user is known")


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A small workspace, some of its items taken by nobody, with examples, a ranker and towers of a given blend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setattr(Blend, "tuned", lambda *_: WEIGHTS)
        source = write(tmp_path_factory.mktemp("source"), items=150)
        yield trained(prepared(Workspace("movielens-100k", "shuffled-ties"), source))


def trained(ws: Workspace) -> Workspace:
    rows = tables.training_rows(ws)
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::5].copy())
    cot = torch.nn.functional.normalize(torch.randn(len(sample), 16), dim=-1)
    examples = ExampleSet.of(rows, sample, cot, item_vectors(items=tables.items(ws).num_rows))
    write_cot_set(ws, examples, encoder="invented by hand")
    storage.write_json(ws.path("feast", registry.MATERIALIZED), {"release": registry.release(ws), registry.UNTIL: 0})
    ranking_trainer.train(ws, model="deepfm", framework="none", recipe="strict", seed=1, epochs=1)
    for framework in ("none", "llm-cf"):
        retrieval_trainer.train(ws, model="sasrec", framework=framework, recipe="best", seed=1, epochs=1)
    return ws


def released(ws: Workspace, framework: str) -> Release:
    tower = Choice(backbone="sasrec", framework=framework, recipe="best", seed=1)
    return releases.read(ws.dataset, export.export(ws, RANKER, tower, promote=False).details["release"])


def offline(ws: Workspace, framework: str) -> tuple[TowerData, Score]:
    """The data and the scores that the run was judged by."""
    data, tower = restore(ws, resolve(model="sasrec", framework=framework, recipe="best", seed=1, epochs=1))
    assert data.texts_VE is not None
    placed = TextMap.load(ws.path("retrieval", f"sasrec-{framework}-best-s1", "text_map.safetensors"))
    assert (data.offered_V.numpy() & ~placed.learnt_V).sum() > 2, "some items are unseen"
    evidence = {
        "graph": controls.Transitions(data.sequences, len(data.offered_V)),
        "text": controls.text(data.sequences, data.texts_VE),
        "unseen": unseen_items.evidence(placed),
    }
    return data, Blend(evidence).scores(evaluation.by_tower(tower, data.sequences, data.shown), WEIGHTS)


def served(release: Release, data: TowerData, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The ten best candidates of each test row, through Triton."""
    monkeypatch.setattr("llmcf.online.reader.OnlineFeatures", lambda ws: RowFeatures(data))
    recommender, sequences = Recommender.load(release), data.sequences
    found = []
    with run_triton(release.models) as server, Client(server, release.stages) as client:
        for row in sequences.of_split("test").tolist():
            _, seen = sequences.seen(torch.tensor([row]))  # the ledger holds the test item, too
            before = dataclasses.replace(recommender, taken=lambda user, seen=seen: seen.numpy())
            raw = recommender.users.raw_id(int(sequences.user_N[row]))
            asked = Question(user=raw)
            person = before._person(asked)
            assert isinstance(person, Person)
            found.append(before._candidates(client, person, asked, Stopwatch())[0][:10])
    return found


@pytest.mark.parametrize("framework", ["none", "llm-cf"])
def test_a_release_finds_what_the_run_was_judged_by(
    ws: Workspace, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = released(ws, framework)
    data, score = offline(ws, framework)
    index_B = data.sequences.of_split("test")
    ranks = pq.read_table(ws.path("retrieval", f"sasrec-{framework}-best-s1", "scores.parquet"))
    measured = ranks.filter(pa.array(ranks["split"].to_numpy() == "test"))["rank_masked"].to_pylist()
    assert evaluation.catalogue_ranks(score, data.sequences, index_B)[0].tolist() == measured
    top_BK = evaluation.ranked_catalogue(score, data.sequences, index_B, top=10).top_BK.numpy()
    score_BV = score(index_B).numpy()
    for score_V, wanted_K, found_K in zip(score_BV, top_BK, served(release, data, monkeypatch), strict=True):
        wanted, found = (np.sort(score_V[ids - FIRST_ID]) for ids in (wanted_K, found_K))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        apart = np.abs(np.diff(np.sort(score_V[wanted_K - FIRST_ID]))).min() > 1e-3
        assert not apart or wanted_K.tolist() == found_K.tolist()
    assert release.blend == WEIGHTS
    assert release.stages["user_vector"].outputs[0].shape == (64 + 16 + 1,)
    assert set(release.stages["user_vector"].metrics) >= {"test", "tower"}
    assert release.encoder, "item search reads texts"
    assert set(release.evidence) == {transition_graph.FILE, "trained/text_map.safetensors"}
    assert release.strangers == manifest.POPULAR
    with milvus.connect(ws) as client:
        account = milvus.account_of(client, release.collections["items"])
    assert (account["run"], account["encoder"]) == (release.stages["user_vector"].run, "invented by hand")
    assert set(account["recall"]["vector"]) >= {"no filter", "seen items", "an allow list"}


def test_a_damaged_graph_is_found(ws: Workspace) -> None:
    release = released(ws, "none")
    path = release.folder / transition_graph.FILE
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + b"x")
    with pytest.raises(Missing, match=r"transitions.safetensors is not as it was made; run `llmcf export"):
        release.require_whole()
    path.write_bytes(kept)
    release.require_whole()


def test_a_refresh_brings_newer_transitions_and_texts(ws: Workspace) -> None:
    base = released(ws, "none")
    assert not refresh.refresh(base, ws, promote=False).skipped
    assert refresh.refresh(base, ws, promote=False).skipped
    table = tables.training_rows(ws)
    split = np.where(table["split"].to_numpy() == "valid", "train", table["split"].to_numpy())
    more = table.set_column(table.schema.get_field_index("split"), "split", [split])
    with filled(ws.path("training"), lambda folder: storage.write_table(folder / "rows.parquet", more, table.schema)):
        newer = releases.read(ws.dataset, refresh.refresh(base, ws, promote=False).details["release"])
    steps_of = [len(load_file(one.folder / transition_graph.FILE)["item"]) for one in (base, newer)]
    assert steps_of[1] > steps_of[0]
    assert newer.blend == base.blend
    assert newer.stages["user_vector"].run == base.stages["user_vector"].run
    assert newer.evidence[manifest.TEXT_MAP] == base.evidence[manifest.TEXT_MAP], "the map of the run goes along"
    check_that_the_map_places_unseen_items(ws, newer)
    stored = load_file(ws.cot("vectors") / "vectors.safetensors")
    flipped = {name: -values for name, values in stored.items()}
    with filled(ws.cot("vectors"), lambda folder: save_file(flipped, folder / "vectors.safetensors")):
        other = releases.read(ws.dataset, refresh.refresh(base, ws, promote=False).details["release"])
        check_that_the_map_places_unseen_items(ws, other)
    old, new = (index_of(one).vectors_NX[:, 64:-1] for one in (base, other))
    np.testing.assert_array_equal(new, -old)


def index_of(release: Release) -> Exact:
    """The index, in which texts follow the tower's vectors, and then whether an item is unseen."""
    with milvus.connect(release.workspace) as client:
        return ItemReplica.read(client, release.collections["items"]).exact


def check_that_the_map_places_unseen_items(ws: Workspace, release: Release) -> None:
    """By the texts that the workspace has now."""
    index, placed = index_of(release), TextMap.load(release.folder / manifest.TEXT_MAP)
    unseen_N = ~placed.learnt(index.ids_N)
    texts_XE = load_file(ws.cot("vectors") / "vectors.safetensors")["items"].numpy()[index.ids_N[unseen_N]]
    assert len(texts_XE) > 2
    np.testing.assert_allclose(index.vectors_NX[unseen_N, :64], placed(texts_XE), atol=1e-5)
    np.testing.assert_array_equal(index.vectors_NX[:, -1], unseen_N)


@contextmanager
def filled(folder: Path, write: Callable[[Path], None]) -> Iterator[None]:
    """A step's folder filled otherwise within a block."""
    kept, config = folder.with_name(f"{folder.name}.kept"), storage.read_json(folder / steps.STAMP)["config"]
    shutil.copytree(folder, kept)

    def work(place: Path) -> dict[str, object]:
        write(place)
        return {"encoder": "invented"}

    steps.run(steps.Step(folder=folder, config=config), work, force=True)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
