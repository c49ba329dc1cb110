"""Models by name: what is known, what is a folder, what is neither; a hash that follows the content only."""

import shutil
from pathlib import Path

import pytest

from core import steps
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models
from tests.tiny_llama import write

WS = Workspace("movielens-100k", "published", "1998-01-09")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tmp_path


def test_a_local_folder_is_used_as_it_is(folder: Path) -> None:
    assert models.llm_path(str(folder)) == folder


def test_a_folder_without_a_model_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        models.llm_path(str(tmp_path))
    shutil.copytree(folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(UsageError, match="pickled weights"):
        models.llm_path(str(tmp_path / "pickled"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('{"architectures": ["BertModel"]}', r"is of the family BertModel; .* one of \*ForCausalLM"),
        ("{}", "is of the family nothing"),
        ("not JSON", "not a JSON object"),
        ("[]", "not a JSON object"),
    ],
)
def test_a_model_that_does_not_write_is_refused(folder: Path, tmp_path: Path, config: str, says: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "other")
    (copy / "config.json").write_text(config)
    with pytest.raises(UsageError, match=says):
        models.llm_path(str(copy))


def test_a_model_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "other")
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"it has no tokenizer.json or tokenizer.model"):
        models.llm_path(str(copy))


@pytest.mark.parametrize("name", ["smolm2", "a/b/c", "/no/such/folder", "./x", ""])
def test_an_unknown_name_is_answered_with_the_choices(name: str) -> None:
    with pytest.raises(UsageError, match="smollm2-135m-instruct"):
        models.llm_path(name)


def test_what_is_not_fetched_names_the_verb(empty_home: Path) -> None:
    with pytest.raises(LlmcfError, match="llmcf llm fetch"):
        models.llm_path(models.LLM)
    with pytest.raises(LlmcfError, match="llmcf llm fetch --encoder BAAI/bge-base-en"):
        models.encoder_path("BAAI/bge-base-en")


def test_the_hash_follows_a_folders_configuration_unless_a_step_made_it(folder: Path, tmp_path: Path) -> None:
    """Somebody may mend the pooling of an encoder of their own: its vectors are others."""
    own = shutil.copytree(folder, tmp_path / "own")
    before = models.model_hash(own)
    (own / "1_Pooling").mkdir()
    (own / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    cls = models.model_hash(own)
    (own / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": false}')
    assert len({before, cls, models.model_hash(own)}) == 3
    (own / steps.STAMP).write_text("{}")
    made = models.model_hash(own)
    (own / "config.json").write_text("{}")
    assert models.model_hash(own) == made


def test_a_model_by_a_folder_with_dots_has_that_folders_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores, texts and verdicts lie under it; "" and ".." would be another folder."""
    monkeypatch.chdir(folder)
    for name in (".", "./", str(folder / ".." / folder.name)):
        assert models.find_model(WS, name, seed=1) == (folder.name, folder)


def test_the_hash_follows_weights_and_tokenizer_only(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("words")
    assert models.model_hash(copy) == models.model_hash(folder)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert models.model_hash(copy) != models.model_hash(folder)
