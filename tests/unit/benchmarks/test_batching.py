"""The ways to batch that are compared are those of a release's own configuration, but for how it batches."""

from pathlib import Path

import pytest

from benchmarks import batching
from benchmarks.batching import Figure
from core.settings import Workspace
from llmcf.serving.manifest import Release
from tests.synthetic_release import write_release


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    return write_release(Workspace("movielens-100k", "shuffled-ties"))


def test_a_way_changes_how_triton_batches_and_nothing_else(release: Release, tmp_path: Path) -> None:
    for number, words in enumerate(batching.WAYS.values()):
        batching.batched(release, words, tmp_path / str(number))
        for model in release.stages:
            own = (release.models / model / "config.pbtxt").read_text(encoding="utf-8")
            text = (tmp_path / str(number) / model / "config.pbtxt").read_text(encoding="utf-8")
            assert text == own.replace(batching.SHIPPED, words)
            assert ("dynamic_batching" in text) is bool(words)


def test_every_way_is_a_row(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching.measured, "sentence", lambda: "a machine")
    figures = [
        Figure(way=way, clients=n, requests=9, per_second=90.4, p50_ms=1.25 * n, p99_ms=2.0)
        for way in batching.WAYS
        for n in (1, 4)
    ]
    text = batching.page(figures, release, "python -m benchmarks.batching")
    for way in batching.WAYS:
        assert way in text
    assert text.count("90, 5.0 / 2.0") == len(batching.WAYS)
    assert "| 1 client " in text
    assert "| 4 clients " in text
