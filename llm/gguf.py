"""A GGUF file of the SmolLM2 family as an ordinary Hugging Face folder in float32."""

from pathlib import Path
from typing import Any

from core import storage

_CONTEXT = 8192


def convert(source: Path, target: Path) -> None:
    """Write `source`, dequantised, as safetensors with tokenizer and chat template into the folder `target`."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    _forget_quantisation(model)
    model.save_pretrained(target)
    tokenizer(source).save_pretrained(target)
    _name_portable_tokenizer_class(target)


def tokenizer(source: Path) -> Any:
    """The file's tokenizer with the step that a rebuild from GGUF loses: every digit is a piece of its own.

    Without it a number after two blanks, for one, is cut otherwise than in the model's training.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    rebuilt = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, model_max_length=_CONTEXT)
    rebuilt.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), rebuilt.backend_tokenizer.pre_tokenizer]
    )
    return rebuilt


def _forget_quantisation(model: Any) -> None:
    """The weights are plain floats by now, yet `save_pretrained` refuses a model that says it is quantised."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _name_portable_tokenizer_class(folder: Path) -> None:
    """Name the tokenizer class as transformers 4 knows it too: the OpenVINO and vLLM environments read this folder."""
    path = folder / "tokenizer_config.json"
    config = storage.read_json(path)
    for key in ("backend", "is_local", "local_files_only"):
        config.pop(key, None)
    storage.write_json(path, {**config, "tokenizer_class": "PreTrainedTokenizerFast"})
