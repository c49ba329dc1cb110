"""A new day of interactions: what was written and embedded is reused, and only new questions are asked."""

from pathlib import Path

import pytest

from core.data import tables
from core.settings import Workspace
from tests.official_files import prepared
from tests.parrot import Parrot, run

pytestmark = pytest.mark.integration
DAYS = "1998-01-10", "1998-01-13"


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
