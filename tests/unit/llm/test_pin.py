"""A pinned model stays what it was, whatever becomes of its day, and never knows more than its workspace."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import schemas, settings, steps, storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models, pins
from llm.cot.recipes import GenerateConfig
from llm.pin import pin
from llm.recgen import score
from llm.texts import machine
from llm.texts.job import TextJob
from llm.texts.queue import Part
from llm.texts.recipes import Budget
from tests import tiny_llama

DAY = Workspace("movielens-100k", "published", "1998-01-10")
LATER = Workspace("movielens-100k", "published", "1998-01-13")
NEWEST = 884_303_999  # 1998-01-08 23:59:59 UTC


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tuned(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model tuned on DAY, whose newest interaction is of NEWEST."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    rows = [{field.name: 0 for field in schemas.INTERACTIONS} | {"timestamp": NEWEST - ago} for ago in (86_400, 0)]
    DAY.path("data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.INTERACTIONS), DAY.path("data", "interactions.parquet"))
    step = steps.Step(folder=models.tuned_folder(DAY, method="recgen", seed=1), config={"method": "recgen", "rows": 32})

    def work(folder: Path) -> dict:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        return {}

    return steps.run(step, work).folder


def test_nothing_is_pinned_until_something_is(tuned: Path) -> None:
    with pytest.raises(LlmcfError, match=r"no model is pinned for movielens-100k; run `llmcf llm pin .* --model"):
        models.find_model(LATER, "pinned", seed=1)
    with pytest.raises(LlmcfError, match="no model is pinned"):
        pin(LATER, seed=1)
    with pytest.raises(LlmcfError, match=r"recgen train .*--method full --seed 1"):
        pin(DAY, model="full", seed=1)
    assert not pins.file(DAY).exists()


def test_a_tuned_model_is_kept_when_its_day_goes(tuned: Path) -> None:
    key = models.model_hash(tuned)
    done = pin(DAY, model="recgen", seed=1)
    assert done.details["made"] == {"method": "recgen", "rows": 32}
    assert (done.details["name"], done.details["hash"]) == ("recgen-s1", key)
    assert (done.details["order"], done.details["until"]) == ("published", "1998-01-08")
    shutil.rmtree(DAY.root)
    name, folder = models.find_model(LATER, "pinned", seed=2023)
    assert (name, models.model_hash(folder)) == ("recgen-s1", key)
    shown = pin(LATER, seed=1)
    assert shown.skipped
    assert shown.artifacts["model"] == str(folder)


def test_a_home_may_be_moved(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(DAY, model="recgen", seed=1)
    settings.home().rename(tmp_path / "moved")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "moved"))
    assert models.find_model(LATER, "pinned", seed=1)[1].is_relative_to(tmp_path / "moved")


def test_a_folder_is_pinned_where_it_is(tuned: Path, model: Path) -> None:
    pin(DAY, model=str(model), seed=1)
    assert models.find_model(LATER, "pinned", seed=1) == (model.name, model)
    assert models.find_model(Workspace("movielens-100k", "shuffled-ties"), "pinned", seed=1)[1] == model
    with pytest.raises(LlmcfError, match="no model is pinned for amazon-beauty"):
        models.find_model(Workspace("amazon-beauty", "published"), "pinned", seed=1)


def test_another_pin_takes_the_place_of_the_first(tuned: Path, model: Path) -> None:
    pin(DAY, model="recgen", seed=1)
    assert len(list(pins.folder(DAY).iterdir())) == 1
    pin(DAY, model=str(model), seed=1)
    assert models.find_model(LATER, "pinned", seed=1)[1] == model
    assert not list(pins.folder(DAY).iterdir())
    assert tuned.is_dir()


def test_a_model_that_was_changed_or_lost_is_not_taken(tuned: Path) -> None:
    folder = Path(pin(DAY, model="recgen", seed=1).artifacts["model"])
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(LlmcfError, match=r"is not the pinned model \w{12} any more; bring it back, or pin one"):
        models.find_model(LATER, "pinned", seed=1)
    storage.remove(folder)
    with pytest.raises(LlmcfError, match="bring it back"):
        models.find_model(LATER, "pinned", seed=1)


def test_a_pinned_model_knows_no_day_that_its_workspace_has_not(tuned: Path) -> None:
    """Its training rows may be a test row's future."""
    pin(DAY, model="recgen", seed=1)
    models.find_model(Workspace("movielens-100k", "published", "1998-01-09"), "pinned", seed=1)
    models.find_model(Workspace("movielens-100k", "published"), "pinned", seed=1)
    with pytest.raises(UsageError, match=r"knows interactions of 1998-01-08, --as-of is 1998-01-08"):
        models.find_model(Workspace("movielens-100k", "published", "1998-01-08"), "pinned", seed=1)
    with pytest.raises(UsageError, match="was tuned on rows in the order published, not global-time"):
        models.find_model(Workspace("movielens-100k", "global-time", "1998-01-13"), "pinned", seed=1)


def test_a_tuned_model_by_its_folder_knows_as_much(tuned: Path) -> None:
    folder = str(tuned)
    models.find_model(DAY, folder, seed=1)
    for later in (DAY.as_of, "1998-01-13"):
        models.find_model(Workspace(DAY.dataset, DAY.order, later), folder, seed=1)
    for order, day in ((DAY.order, "1998-01-08"), ("global-time", "1998-01-13")):
        with pytest.raises(UsageError, match=f"tuned on {DAY.order} rows as of {DAY.as_of}, which .* must not know"):
            models.find_model(Workspace(DAY.dataset, order, day), folder, seed=1)
    with pytest.raises(UsageError, match=r"tuned in another workspace; pin it there, by `llmcf llm pin --model recgen"):
        pin(LATER, model=folder, seed=1)
    kept = pin(DAY, model=folder, seed=1).artifacts["model"]
    note = pins.read(DAY)
    assert note is not None
    assert (note.order, note.until) == (DAY.order, "1998-01-08")
    with pytest.raises(UsageError, match="take it by --model pinned"):
        models.find_model(DAY, kept, seed=1)


def test_texts_of_a_day_before_the_pin_are_left_as_they_are_while_they_are_current(tuned: Path) -> None:
    """As where a task of a day that is done is cleared: an earlier model wrote it."""
    pin(DAY, model="recgen", seed=1)
    past = Workspace("movielens-100k", "published", "1998-01-08")
    rows = past.path("rows")
    rows.parent.mkdir(parents=True)
    rows.write_text("rows")
    job = TextJob(
        verb="cot generate",
        config=GenerateConfig(model="pinned"),
        wording="1",
        folder=past.cot("texts"),
        inputs=[rows],
        code=[],
        schema=schemas.COT_TEXTS,
        ask=lambda _: pytest.fail("asked"),
        summarise=lambda _: {},
        strip_decision=False,
    )

    def refused(job: TextJob, limits: Budget | None = None) -> None:
        with pytest.raises(UsageError, match=r"of 1998-01-08, --as-of .* another model, such as --model base"):
            machine.generate(past, job, limits)

    refused(job)
    made = machine._step(job, "the hash of an earlier one", Budget())
    steps.run(made, lambda _: {"texts": 3})
    for part in (None, Part(0, 2)):
        done = machine.generate(past, job, part=part)
        assert (done.skipped, done.details["texts"]) == (True, 3)
    refused(job, Budget(rows=1))
    refused(replace(job, wording="2"))
    refused(replace(job, config=GenerateConfig(model="pinned", style="led")))
    rows.write_text("others")
    refused(job)


def test_a_dated_day_writes_with_the_pinned_model_unless_another_is_named(tuned: Path) -> None:
    assert pins.writer(LATER, "recgen") == "recgen"
    pin(DAY, model="recgen", seed=1)
    assert pins.writer(LATER, "recgen") == "pinned"
    assert pins.writer(Workspace("movielens-100k", "published"), "recgen") == "recgen"
    assert pins.writer(Workspace("movielens-100k", "global-time", "1998-01-13"), "recgen") == "recgen"


def test_a_pinned_model_is_no_teacher(tuned: Path) -> None:
    """Which rows it has seen is said in numbers of its own day."""
    pin(DAY, model="recgen", seed=1)
    with pytest.raises(UsageError, match="--model pinned: rows have other numbers each day"):
        score.score(LATER, model="pinned", seed=1, rows=10)


def test_a_guard_decides_before_anything_is_kept_and_what_it_says_is_noted(tuned: Path) -> None:
    def refuses(name: str, key: str) -> dict:
        raise LlmcfError(f"{name} {key} is not checked")

    with pytest.raises(LlmcfError, match=f"recgen-s1 {models.model_hash(tuned)} is not checked"):
        pin(DAY, model="recgen", seed=1, allowed=refuses)
    assert not pins.file(DAY).exists()
    assert not pins.folder(DAY).exists()
    pin(DAY, model="recgen", seed=1, allowed=lambda name, key: {"when": "today"})
    assert pin(LATER, seed=1).details["checked"] == {"when": "today"}
    pin(DAY, model="recgen", seed=1)
    assert pin(LATER, seed=1).details["checked"] is None
