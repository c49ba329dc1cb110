"""transformers in this process: the reference the other engines are compared with.

Static batches; float32 on a CPU, bfloat16 and batches as large as its memory takes on a GPU.
"""

from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core import processor
from llm.engines.base import Generation, Request, Sampling

BATCH = 16  # on a CPU
GPU_BATCH = 1024  # at most
_TOKENS = 2048  # of a sequence, when a batch is fitted into a GPU's memory
_DRAWN = 8  # copies of a row of logits, in float32, while the next token is drawn


class TransformersEngine:
    """Requests wait until a batch is asked for; those of like length share one, and the first one's seed seeds it."""

    name = "transformers"
    window = 4 * BATCH  # of a GPU known once it is entered

    def __init__(self, model: Path, sampling: Sampling) -> None:
        self._folder, self._sampling = model, sampling
        self._waiting: list[Request] = []
        self._done: deque[Generation] = deque()
        self._model: Any = None
        self._tokenizer: Any = None
        self.batch = BATCH

    def __enter__(self) -> Self:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        processor.flush_denormals(torch.set_flush_denormal)
        self._tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True, padding_side="left")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(self._folder, local_files_only=True, dtype=dtype)
        model.generation_config = GenerationConfig()  # a request says how it is drawn, no file of the model
        self._model = model.to(device).eval()
        if device == "cuda":
            self.batch = gpu_batch(model.config, torch.cuda.mem_get_info()[0])
            self.window = 4 * self.batch
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model = self._tokenizer = None
        self._waiting.clear()
        self._done.clear()

    def submit(self, request: Request) -> None:
        """See `Engine.submit`."""
        self._waiting.append(request)

    def poll(self) -> Generation:
        """See `Engine.poll`."""
        if not self._done:
            self._waiting.sort(key=lambda request: (_kind(request), len(request.prompt)))
            alike = sum(_kind(request) == _kind(self._waiting[0]) for request in self._waiting)
            batch = self._waiting[: min(alike, self.batch)]
            del self._waiting[: len(batch)]
            self._run(batch)
        return self._done.popleft()

    def _run(self, batch: list[Request]) -> None:
        import torch

        texts = [request.prompt for request in batch]
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        torch.manual_seed(batch[0].seed)
        with torch.inference_mode():
            output = self._model.generate(
                **inputs.to(self._model.device),
                generation_config=self._configuration(batch[0]),
                tokenizer=self._tokenizer,
            )
        for request, ids in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            self._done.append(self._generation(request, ids))

    def _generation(self, request: Request, ids: list[int]) -> Generation:
        eos = self._tokenizer.eos_token_id
        stopped = eos in ids
        ids = ids[: ids.index(eos)] if stopped else ids
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        ends = [text.find(mark) + len(mark) for mark in request.stop if mark in text]
        finish = "stop" if stopped or ends else "length"
        text = text[: min(ends)] if ends else text
        return Generation(number=request.number, text=text, tokens=len(ids) + stopped, finish=finish)

    def _configuration(self, request: Request) -> Any:
        from transformers import GenerationConfig

        drawn = self._sampling.temperature > 0
        return GenerationConfig(
            max_new_tokens=request.max_new_tokens,
            min_new_tokens=min(request.min_new_tokens, request.max_new_tokens),
            stop_strings=list(request.stop) or None,
            repetition_penalty=self._sampling.repetition_penalty,
            do_sample=drawn,
            temperature=self._sampling.temperature if drawn else None,
            top_k=self._sampling.top_k if drawn else None,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
        )


def gpu_batch(config: Any, free: int) -> int:
    """Sequences whose keys and values, in bfloat16, and next tokens fit into half of `free` bytes."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    held = 2 * 2 * config.num_hidden_layers * heads * head * _TOKENS
    return max(1, min(GPU_BATCH, free // 2 // (held + 4 * _DRAWN * config.vocab_size)))


def _kind(request: Request) -> tuple[int, int, tuple[str, ...]]:
    """Requests of one kind can share a batch."""
    return request.max_new_tokens, request.min_new_tokens, request.stop
