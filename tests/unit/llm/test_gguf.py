"""What a rebuilt model says of itself; that it is the one in the file is shown in tests/integration/test_fetch.py."""

from pathlib import Path
from types import SimpleNamespace

from core import storage
from llm import gguf
from tests.tiny_llama import tiny_tokenizer


def test_the_tokenizer_is_named_as_every_environment_knows_it(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    said = storage.read_json(path) | {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "is_local": True}
    storage.write_json(path, said)
    gguf._name_portable_tokenizer_class(tmp_path)
    now = storage.read_json(path)
    assert now["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not now.keys() & {"backend", "is_local", "local_files_only"}
    assert now["eos_token"] == said["eos_token"]


def test_plain_floats_do_not_say_that_they_are_quantised() -> None:
    model = SimpleNamespace(hf_quantizer=object(), config=SimpleNamespace(quantization_config={}))
    gguf._forget_quantisation(model)
    assert model.hf_quantizer is None
    assert not hasattr(model.config, "quantization_config")
    gguf._forget_quantisation(model)
