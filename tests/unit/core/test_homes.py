from pathlib import Path

import pytest

from core import homes
from core.settings import Workspace


def test_a_home_keeps_its_identity_when_it_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    first = homes.home_id()
    (tmp_path / "home").rename(tmp_path / "moved")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "moved"))
    assert homes.home_id() == first
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "another"))
    assert homes.home_id() != first


def test_names_on_a_shared_server_are_a_homes_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws, found = Workspace("movielens-100k", "published", "2026-10-01"), set()
    for name in ("a", "b"):
        monkeypatch.setenv("LLMCF_HOME", str(tmp_path / name))
        assert homes.prefix(ws) == f"movielens_100k_published_2026_10_01_{homes.home_id()[:8]}"
        found.add(homes.prefix(ws))
    assert len(found) == 2
