"""The folder that Triton is shown: plain, private, and gone afterwards, also after a kill."""

import os
import stat
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock

from core.contracts import TRITON_MODELS
from core.errors import Unavailable
from llmcf.serving import triton_runtime
from llmcf.serving.triton_runtime import runtime


@pytest.fixture(autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_it_shows_the_models_and_the_backend_to_its_user_only(tmp_path: Path, place: Path) -> None:
    odd = tmp_path / "it's & ü"
    for name in (*TRITON_MODELS, "stray"):
        (odd / name).mkdir(parents=True)
    (tmp_path / "stub").write_text("x")
    with runtime(odd, [tmp_path / "stub"]) as made:
        assert {path.name for path in made.models.iterdir()} == set(TRITON_MODELS)
        assert (made.models / "ranker").resolve() == odd / "ranker"
        assert (made.backends / "python" / "stub").read_text() == "x"
        assert stat.S_IMODE(made.models.parent.stat().st_mode) == 0o700
        assert str(made.models).isascii()
    assert list(place.iterdir()) == []
    assert (tmp_path / "stub").exists(), "links are removed, not what they lead to"


def test_an_odd_folder_of_temporary_files_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a blank"))
    monkeypatch.setattr(triton_runtime, "_PLACES", (str(plain),))
    with runtime(tmp_path, []) as made:
        assert made.models.parent.parent == plain
    monkeypatch.setattr(triton_runtime, "_PLACES", (str(tmp_path / "missing"),))
    with pytest.raises(Unavailable, match="can be written to"), runtime(tmp_path, []):
        pass


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path, place: Path) -> None:
    names = ("llmcf-triton-old", "llmcf-triton-used", "llmcf-triton-young", "else")
    for name in names:
        (place / name).mkdir()
    long_ago = time.time() - 3600
    with FileLock(place / "llmcf-triton-used" / "lock"):
        for name in (names[0], names[1], names[3]):
            os.utime(place / name, (long_ago, long_ago))
        with runtime(tmp_path, []):
            pass
    assert {path.name for path in place.iterdir()} == set(names[1:])
