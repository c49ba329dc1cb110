"""The frozen sentence encoder: sentence-transformers, whose transformer OpenVINO computes on a CPU.

Measured in benchmarks/results/language.md: OpenVINO is the fastest of sentence-transformers' backends there, and in
float32 its vectors equal torch's. sentence-transformers' own way to it asks for an older transformers than the main
environment has, so the module is converted here, which takes two seconds.
"""

import inspect
import warnings
from typing import Any

import numpy as np

from core.progress import track
from llm import models

_BATCH = 16  # on a CPU larger batches only add padding
_PART = 16 * _BATCH  # texts between two signs of progress
_SHOWN = f"embedding, parts of {_PART} texts"


class Encoder:
    """An encoder on local files.

    Raises:
        UsageError: if `name` is not a known encoder or a model folder.
        LlmcfError: if it is not fetched yet.
    """

    def __init__(self, name: str, *, openvino: bool = True) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(models.encoder_path(name)), device=None, local_files_only=True)
        self.model.eval()
        if openvino and self.model.device.type == "cpu":
            first: Any = self.model[0]
            first.model = on_openvino(first.model)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return unit vectors, float32 (len(texts), E); an empty text gives a zero vector."""
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))  # what shares a batch is of like length
        parts = [order[at : at + _PART] for at in range(0, len(order), _PART)]
        made = [self._encode([texts[place] for place in part]) for part in track(parts, total=len(parts), what=_SHOWN)]
        vectors = np.concatenate(made)[np.argsort(order)]
        vectors[[not text for text in texts]] = 0
        return vectors

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors = self.model.encode(texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def on_openvino(module: Any, precision: str = "f32") -> Any:
    """A transformer of Hugging Face as a module that OpenVINO computes; its inputs and its last hidden state remain.

    Args:
        precision: f32, or bf16, which is faster on CPUs that have instructions for it and moves a vector by about 1e-4.
    """
    import openvino
    import torch
    from transformers.modeling_outputs import BaseModelOutput
    from transformers.utils import logging

    ids = torch.ones(2, 8, dtype=torch.long)
    example = {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids * 0}
    known = {name: value for name, value in example.items() if name in inspect.signature(module.forward).parameters}
    said = logging.get_verbosity()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing says what it takes as constant: a test holds both ways equal
        converted = openvino.convert_model(module, example_input=known)
    logging.set_verbosity(said)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    names = [port.get_any_name() for port in compiled.inputs]

    class OnOpenVino(torch.nn.Module):
        config, dtype = module.config, torch.float32

        def forward(self, **inputs: torch.Tensor) -> BaseModelOutput:
            hidden = compiled({name: inputs[name].numpy() for name in names if name in inputs})[0]
            return BaseModelOutput(last_hidden_state=torch.from_numpy(hidden))  # pyright: ignore[reportArgumentType]

    return OnOpenVino()
