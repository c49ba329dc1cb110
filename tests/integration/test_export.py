"""Two trained runs become a release that Triton serves, once, and again only when something has changed."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from core import steps, storage
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.result import Result
from core.settings import Workspace
from ict import milvus, onnx
from ict.examples import ExampleSet
from llmcf.feature_store import registry
from llmcf.lineage.show import show
from llmcf.serving import assemble, export, listing, manifest, refresh, releases
from llmcf.serving.assemble import Choice
from llmcf.serving.triton_client import canary
from llmcf.serving.triton_server import run_triton
from ranking import trainer as ranking_trainer
from retrieval_stage import trainer as retrieval_trainer
from retrieval_stage.export import kept_run
from retrieval_stage.items import KIND, ItemReplica
from tests.in_memory import item_vectors, knowledge, write_cot_set
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration
CHOICE = {"framework": "llm-cf", "recipe": "strict", "seed": 1}
TEACHER = "recgen-s2023"


@pytest.fixture(scope="module")
def ws(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A copy of the tiny workspace with examples and both stages trained for an epoch."""
    write_examples(own, every=5)
    ranking_trainer.train(own, model="deepfm", epochs=1, **CHOICE)
    retrieval_trainer.train(own, model="sasrec", epochs=1, **CHOICE)
    fill_online_store(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        yield own


def fill_online_store(ws: Workspace) -> None:
    """As far as a promotion looks."""
    storage.write_json(ws.path("feast", registry.MATERIALIZED), {"release": registry.release(ws), registry.UNTIL: 0})


def write_examples(ws: Workspace, every: int) -> None:
    """A CoT set of every n-th training row."""
    rows = tables.training_rows(ws)
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::every].copy())
    generator = torch.Generator().manual_seed(every)
    cot = torch.nn.functional.normalize(torch.randn(len(sample), 16, generator=generator), dim=-1)
    write_cot_set(ws, ExampleSet.of(rows, sample, cot, item_vectors(items=tables.items(ws).num_rows)), seed=every)


def write_teacher_and_texts(ws: Workspace) -> None:
    """What kd and kar read, as finished steps: P(Yes) of every fourth row, texts of every second user and item."""
    rows = tables.training_rows(ws)
    users, items = (table.num_rows + 2 for table in (tables.users(ws), tables.items(ws)))

    def teach(folder: Path) -> dict[str, object]:
        row = rows["row"].to_numpy()[::4]
        pq.write_table(pa.table({"row": row, "p_yes": np.linspace(0, 1, len(row))}), folder / "scores.parquet")
        return {}

    def know(folder: Path) -> dict[str, object]:
        made = knowledge(users=users, items=items)
        stored = {"user": made.user_UE, "item": made.item_VE, "prefix": made.prefix_U.int()}
        save_file({name: values.contiguous() for name, values in stored.items()}, folder / "vectors.safetensors")
        return {"encoder": "invented"}

    steps.run(steps.Step(folder=ws.path("scores", TEACHER), config={}), teach)
    steps.run(steps.Step(folder=ws.path("kar", "vectors"), config={}), know)


def choices(**changed: str) -> tuple[Choice, Choice]:
    """The ranker's run and the tower's."""
    return Choice(backbone="deepfm", **{**CHOICE, **changed}), Choice(backbone="sasrec", **CHOICE)


def export_again(ws: Workspace, **how: bool) -> Result:
    return export.export(ws, *choices(), **how)


@pytest.fixture(scope="module")
def first(ws: Workspace) -> Result:
    return export_again(ws)


def test_a_release_says_what_it_was_made_from(ws: Workspace, first: Result) -> None:
    release = releases.require(ws.dataset)
    assert not first.skipped
    assert release.number == 1
    ranker, tower = release.stages["ranker"], release.stages["user_vector"]
    assert (ranker.backbone, ranker.framework, ranker.recipe, ranker.seed) == ("deepfm", "llm-cf", "strict", 1)
    assert tower.backbone == "sasrec"
    assert set(release.collections) == {"cot", "items"}
    assert {path.name for path in release.folder.iterdir()} == {
        "release.json", "catalogue.parquet", "models", "trained",
    }  # fmt: skip
    assert set(release.score) == {
        "model.py", "nearest.py", "shown.py", "score.json",
        "ids.safetensors", "examples.safetensors", "item_vectors.safetensors",
    }  # fmt: skip
    assert release.versions == {"ranker": 1, "user_vector": 1, "score": 1}
    assert set(ranker.sha256) == {"model.onnx", "weights.safetensors", "tables.safetensors", "model.py"}
    assert ranker.reads == {"user", "item", "history", "examples", "brand", "categories", "text"}
    assert tower.reads == {"user", "history", "examples"}
    assert {one.name: one.shape for one in ranker.inputs}["text"] == (16,)
    assert release.users_end == tables.users(ws).num_rows + 2
    assert release.items_end == tables.items(ws).num_rows + 2
    assert ranker.metrics["test"]["auc"] > 0
    assert release.features["project"]
    assert release.strangers.startswith("popular items, where the tower's run was measured with its own answer")
    assert set(release.evidence) == {manifest.TEXT_MAP}, "what comes after it is found by its text"
    read = ws.path("data"), ws.cot("vectors")
    assert release.inputs == {steps.name_of(folder): steps.content_of(folder) for folder in read}


def test_its_lineage_goes_back_to_the_rows_by_its_runs_and_the_index(ws: Workspace, first: Result) -> None:
    found = {node["id"]: node for node in show("release:1", place=(ws.dataset, None, None)).details["nodes"]}
    release, home = f"release:{ws.dataset}/1", f"{ws.dataset}/{ws.order}/{ws.as_of}"
    runs = {f"{home}/ranking/deepfm-llm-cf-strict-s1", f"{home}/retrieval/sasrec-llm-cf-strict-s1"}
    made = {f"collection:{name}" for name in releases.require(ws.dataset).collections.values()}
    assert {one["id"] for one in found[release]["inputs"]} == {*runs, *made, f"{home}/data", f"{home}/cot/vectors"}
    assert {f"{home}/cot/index", f"{home}/cot/texts", f"{home}/training"} < set(found)
    assert {found[name]["state"] for name in (release, *runs, *made)} == {"current"}


def test_nothing_is_made_twice(ws: Workspace, first: Result) -> None:
    again = export_again(ws)
    assert again.skipped
    assert again.details["release"] == first.details["release"]
    assert again.artifacts == first.artifacts


def test_nothing_goes_live_that_has_no_online_store(ws: Workspace, first: Result) -> None:
    base = releases.require(ws.dataset, first.details["release"])
    ways = (export_again, partial(refresh.refresh, base), lambda ws: listing.promote(ws.dataset, base.number))
    ws.path("feast", registry.MATERIALIZED).unlink()
    try:
        for make_live in ways:
            with pytest.raises(Missing, match=r"store is empty; run `llmcf features materialize --dataset movielens"):
                make_live(ws)
        assert export_again(ws, promote=False).skipped
    finally:
        fill_online_store(ws)


def test_what_was_rolled_back_is_not_made_live_by_repeating(
    ws: Workspace, first: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = write_release(ws)
    monkeypatch.setattr(assemble, "current", lambda plan: newer)
    assert export_again(ws, promote=False).details["live"], "as the pointer says"
    releases.rollback(ws.dataset)
    again = export_again(ws)
    assert (again.details["release"], again.details["live"]) == (newer.number, False)
    assert f"`llmcf release promote --dataset {ws.dataset} --release {newer.number}`" in capsys.readouterr().err
    assert releases.require(ws.dataset).number == first.details["release"]
    releases.promote(newer)
    assert export_again(ws).details["live"]
    releases.promote(releases.read(ws.dataset, 1))
    shutil.rmtree(newer.folder)


def test_triton_serves_what_was_exported(ws: Workspace, first: Result) -> None:
    release = releases.require(ws.dataset)
    with run_triton(release.models) as server:
        canary(server, release.models, release.stages)


def test_a_release_whose_canary_fails_is_none(ws: Workspace, first: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LlmcfError("the canary died")

    monkeypatch.setattr(assemble, "canary", fail)
    monkeypatch.setattr(assemble, "current", lambda plan: None)
    before = releases.numbers(ws.dataset)
    with pytest.raises(LlmcfError, match="the canary died"):
        export_again(ws)
    assert releases.numbers(ws.dataset) == before
    live = releases.live(ws.dataset)
    assert live is not None
    assert live.number == first.details["release"]


def test_lost_item_vectors_are_published_anew(ws: Workspace, first: Result) -> None:
    release = releases.require(ws.dataset)
    name = release.collections["items"]
    with milvus.connect(ws) as client:
        vectors = ItemReplica.read(client, name)
        client.drop_alias(milvus.alias(ws, KIND))
        client.drop_collection(name)
    again = export_again(ws)
    assert not again.skipped
    assert again.details["release"] > first.details["release"]
    with milvus.connect(ws) as client:
        published = ItemReplica.read(client, releases.require(ws.dataset).collections["items"])
    np.testing.assert_array_equal(published.exact.vectors_NX, vectors.exact.vectors_NX)


def test_a_release_of_lost_examples_is_none(ws: Workspace, first: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    before = releases.numbers(ws.dataset)
    monkeypatch.setattr(assemble, "example_collection", lambda *_: {"cot": "lost_v1"})
    with pytest.raises(Missing, match=r"does not hold lost_v1 any more.*llmcf export"):
        export_again(ws)
    assert releases.numbers(ws.dataset) == before


@pytest.mark.parametrize(
    ("framework", "retriever"),
    [("kd", "youtubednn"), ("kar", "gru4rec"), ("llm-cf+kd", "srgnn"), ("none", "sasrec")],
)
def test_every_framework_that_can_be_trained_can_be_released(ws: Workspace, framework: str, retriever: str) -> None:
    """With the user tower that goes with it, of any backbone; one without LLM-CF reads, and names, no examples."""
    write_teacher_and_texts(ws)
    ranking_trainer.train(ws, model="deepfm", framework=framework, recipe="strict", seed=1, epochs=1)
    tower = export.tower_framework(framework)
    retrieval_trainer.train(ws, model=retriever, framework=tower, recipe="strict", seed=1, epochs=1)
    ranker = Choice(backbone="deepfm", framework=framework, recipe="strict", seed=1)
    result = export.export(ws, ranker, Choice(backbone=retriever, framework=tower, recipe="strict", seed=1))
    release = releases.require(ws.dataset, result.details["release"])
    assert release.stages["ranker"].framework == framework
    reads_examples = "llm-cf" in framework
    assert ("cot" in release.collections) == reads_examples
    assert ("examples" in release.stages["ranker"].reads) == reads_examples
    assert bool(release.item_vectors) == reads_examples


def test_a_ranker_goes_with_any_tower(ws: Workspace, first: Result) -> None:
    write_teacher_and_texts(ws)
    ranking_trainer.train(ws, model="deepfm", framework="kd", recipe="strict", seed=1, epochs=1)
    ranker, tower = choices(framework="kd")
    result = export.export(ws, ranker, tower, promote=False)
    made = releases.read(ws.dataset, result.details["release"])
    assert {model: stage.framework for model, stage in made.stages.items()} == {"ranker": "kd", "user_vector": "llm-cf"}
    live = releases.live(ws.dataset)
    assert live is not None
    assert live.number != made.number, "nobody promoted it"


def test_a_tower_framework_that_is_none_is_a_usage_error(ws: Workspace) -> None:
    ranker, tower = choices()
    with pytest.raises(UsageError, match=r"unknown framework of the user tower 'kar'; choose one of: none, llm-cf"):
        export.export(ws, ranker, dataclasses.replace(tower, framework="kar"))


def test_an_untrained_run_names_its_verb(ws: Workspace) -> None:
    ranker, tower = choices()
    with pytest.raises(
        LlmcfError, match=r"llmcf rank train .*--model deepfm --framework llm-cf --recipe strict --seed 7"
    ):
        export.export(ws, dataclasses.replace(ranker, seed=7), tower)


def test_a_refresh_freezes_newer_examples_with_the_old_weights(ws: Workspace, first: Result) -> None:
    base = releases.require(ws.dataset, export_again(ws).details["release"])
    assert not refresh.refresh(base, ws, promote=False).skipped
    assert refresh.refresh(base, ws, promote=False).skipped
    write_examples(ws, every=3)
    newer = refresh.refresh(base, ws)
    release = releases.require(ws.dataset)
    assert release.number == newer.details["release"]
    assert release.refreshed == base.number
    assert {model: stage.run for model, stage in release.stages.items()} == {
        model: stage.run for model, stage in base.stages.items()
    }
    assert release.collections["cot"] != base.collections["cot"]
    tables_of = [one.models / "ranker" / str(one.number) / onnx.TABLES for one in (base, release)]
    old, new = (load_file(path)["tokens_M3W"] for path in tables_of)
    assert len(new) > len(old)
    shown_of = [one.models / "score" / str(one.number) / "examples.safetensors" for one in (base, release)]
    assert [len(load_file(path)["key_MX"]) for path in shown_of] == [len(old), len(new)]
    weights_of = [one.stages["ranker"].sha256["weights.safetensors"] for one in (base, release)]
    assert weights_of[0] == weights_of[1]
    write_examples(ws, every=5)


def test_a_refresh_with_texts_of_another_encoder_is_refused(ws: Workspace, first: Result) -> None:
    base = releases.require(ws.dataset, export_again(ws).details["release"])
    with pytest.raises(Missing, match=r"reads texts of bge@1, and those of .*cot embed .*--encoder bge`"):
        refresh.refresh(dataclasses.replace(base, encoder="bge@1"), ws)


@pytest.mark.parametrize(
    ("framework", "recipe", "place", "remedy"),
    [("none", "best", "cot", "llmcf cot embed --items-only"), ("kar", "strict", "kar", "llmcf kar embed")],
)
def test_a_refresh_looks_at_texts_that_no_example_comes_with(
    ws: Workspace, framework: str, recipe: str, place: str, remedy: str
) -> None:
    write_teacher_and_texts(ws)
    ranking_trainer.train(ws, model="deepfm", framework=framework, recipe=recipe, seed=1, epochs=1)
    retrieval_trainer.train(ws, model="sasrec", framework="none", recipe="strict", seed=1, epochs=1)
    ranker = Choice(backbone="deepfm", framework=framework, recipe=recipe, seed=1)
    tower = Choice(backbone="sasrec", framework="none", recipe="strict", seed=1)
    base = releases.read(ws.dataset, export.export(ws, ranker, tower, promote=False).details["release"])
    assert not refresh.refresh(base, ws, promote=False).skipped
    assert refresh.refresh(base, ws, promote=False).skipped
    vectors = ws.path(place, "vectors")
    with changed(vectors, {}, lambda values: values + 0.5):
        assert not refresh.refresh(base, ws, promote=False).skipped, "other texts"
    with (
        changed(vectors, {"encoder": "bge", "hash": "1"}, lambda values: values),
        pytest.raises(Missing, match=rf"reads texts of @, and those of .* are of bge@1; run `{remedy} .*--encoder"),
    ):
        refresh.refresh(base, ws)
    with changed(vectors, {}, lambda values: values):
        shutil.rmtree(vectors)
        with pytest.raises(Missing, match=rf"is missing or incomplete; run `{remedy} "):
            refresh.refresh(base, ws)
    unsaid = dataclasses.replace(base, encoder="", knowledge_encoder="")
    with pytest.raises(LlmcfError, match="does not say which encoder"):
        refresh.refresh(unsaid, ws)


@contextmanager
def changed(folder: Path, config: dict[str, str], change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Text vectors made anew otherwise, and as they were at the end of the block."""
    kept = folder.with_name("vectors.kept")
    shutil.copytree(folder, kept)
    stored = load_file(folder / "vectors.safetensors")

    def write(place: Path) -> dict[str, object]:
        made = {name: change(values) if values.is_floating_point() else values for name, values in stored.items()}
        save_file(made, place / "vectors.safetensors")
        return {}

    steps.run(steps.Step(folder=folder, config=config), write, force=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kept.rename(folder)


def test_a_refreshed_tower_reads_texts_of_every_item(ws: Workspace, first: Result) -> None:
    """Histories are cut at the catalogue's end, and must not look past that of the texts."""
    base = releases.read(ws.dataset, export_again(ws).details["release"])
    with (
        changed(ws.cot("vectors"), {}, lambda values: values[:-1].contiguous()),
        pytest.raises(Missing, match=r"text vectors of .* are of \d+ items, and there are \d+; run `llmcf cot embed"),
    ):
        kept_run(ws, base.folder / "trained" / "user_vector.safetensors")


@pytest.mark.parametrize(
    ("trained", "wanted", "refused"),
    [
        ("latest", "2026-01-31", True),
        ("2026-02-01", "2026-01-31", True),
        ("2026-01-31", "2026-01-31", False),
        ("2026-01-31", "2026-02-01", False),
        ("2026-01-31", "latest", False),
        ("latest", "latest", False),
    ],
)
def test_weights_are_not_shown_with_an_earlier_day(
    ws: Workspace, first: Result, trained: str, wanted: str, refused: bool
) -> None:
    base = dataclasses.replace(releases.require(ws.dataset), as_of=trained)
    place = dataclasses.replace(ws, as_of=wanted)
    if refused:
        with pytest.raises(UsageError, match="would know what came after it"):
            refresh._check(base, place)
    elif place != ws:
        with pytest.raises(Missing, match="holds no items"):
            refresh._check(base, place)
    else:
        refresh._check(base, place)


def test_a_refresh_of_another_data_set_is_refused(ws: Workspace, first: Result) -> None:
    base = releases.require(ws.dataset, releases.numbers(ws.dataset)[0])
    with pytest.raises(LlmcfError, match="whose numbers mean other items"):
        refresh.refresh(base, Workspace("amazon-beauty", "published"))
