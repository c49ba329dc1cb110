"""transformers in this process: the reference the other engines are compared with. Static batches, float32."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llm.engines.base import Generation, Sampling, prompt_seed

BATCH = 16


class TransformersEngine:
    """Prompts are batched by length; a batch is seeded by its first prompt."""

    name = "transformers"

    def __init__(self, model: Path, sampling: Sampling) -> None:
        self._folder = model
        self._sampling = sampling
        self._model: Any = None
        self._tokenizer: Any = None

    def __enter__(self) -> Self:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True, padding_side="left")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(self._folder, local_files_only=True, dtype=dtype)
        self._model = model.to(device).eval()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model = self._tokenizer = None

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, seed: int) -> Iterator[Generation]:
        """See `Engine.generate`."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            texts = [prompts[index] for index in batch]
            yield from self._batch(batch, texts, max_new_tokens, prompt_seed(texts[0], seed))

    def _batch(self, indices: list[int], texts: list[str], max_new_tokens: int, seed: int) -> Iterator[Generation]:
        import torch

        inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        torch.manual_seed(seed)
        with torch.inference_mode():
            output = self._model.generate(
                **inputs.to(self._model.device),
                generation_config=self._configuration(max_new_tokens),
            )
        for index, ids in zip(indices, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            yield self._generation(index, ids)

    def _generation(self, index: int, ids: list[int]) -> Generation:
        eos = self._tokenizer.eos_token_id
        stopped = eos in ids
        ids = ids[: ids.index(eos)] if stopped else ids
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        return Generation(index=index, text=text, tokens=len(ids) + stopped, finish="stop" if stopped else "length")

    def _configuration(self, max_new_tokens: int) -> Any:
        from transformers import GenerationConfig

        drawn = self._sampling.temperature > 0
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            min_new_tokens=min(self._sampling.min_new_tokens, max_new_tokens),
            repetition_penalty=self._sampling.repetition_penalty,
            do_sample=drawn,
            temperature=self._sampling.temperature if drawn else None,
            top_k=self._sampling.top_k if drawn else None,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
        )
