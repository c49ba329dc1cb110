"""A new day of interactions: what was written and embedded is reused, and only new questions are asked."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core import steps
from core.data import tables
from core.settings import Workspace
from llm import models, pins
from llm.pin import pin
from tests.official_files import prepared
from tests.parrot import Parrot, run

pytestmark = pytest.mark.integration
DAYS = "1998-01-10", "1998-01-13"


def tuned(ws: Workspace, model: Path, day: int) -> None:
    """What `recgen train` leaves: a model of the day's own."""

    def work(folder: Path) -> dict:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        weights = {name: weight + day for name, weight in load_file(model / "model.safetensors").items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return {}

    steps.run(steps.Step(folder=models.tuned_folder(ws, method="recgen", seed=1), config={"day": day}), work)


def test_with_a_pinned_model_a_new_day_asks_only_what_is_new_although_it_has_tuned_anew(
    source: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    yesterday, today = (prepared(Workspace("movielens-100k", "published", day), source) for day in DAYS)
    for number, ws in enumerate((yesterday, today)):
        tuned(ws, model, number)
    first = run(yesterday, pins.writer(yesterday, "recgen"), Parrot(), limit=200)
    anew = run(today, pins.writer(today, "recgen"), Parrot(), limit=200)
    assert first.details["fresh"] >= 190
    assert anew.details["fresh"] >= 190  # another model: every question is asked again

    pin(yesterday, model="recgen", seed=1)
    shutil.rmtree(yesterday.root)  # days go, the pin stays
    second = run(today, pins.writer(today, "recgen"), Parrot(), limit=200)
    assert second.details["model_option"] == "pinned"
    assert second.details["model"] == first.details["model"] != anew.details["model"]
    assert 0 < second.details["fresh"] < 0.35 * first.details["fresh"]
    assert second.details["fresh"] + second.details["reused"] == anew.details["fresh"] + anew.details["reused"]


def test_only_what_is_new_is_asked(source: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    yesterday, today = (prepared(Workspace("movielens-100k", "published", day), source) for day in DAYS)
    grown = tables.interactions(today).num_rows - tables.interactions(yesterday).num_rows
    assert grown > 0
    parrots = Parrot(), Parrot()
    results = []
    for ws, parrot in zip((yesterday, today), parrots, strict=True):
        results.append(run(ws, model, parrot, limit=200).details)
    first, second = results
    assert first["fresh"] >= 190
    assert second["fresh"] + second["reused"] == first["fresh"] + first["reused"]
    assert 0 < second["fresh"] < 0.35 * first["fresh"]
    assert not set(parrots[0].begun) & set(parrots[1].begun)
