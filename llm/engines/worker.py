"""The engine side of a worker process: one JSON object a line on stdin and stdout, everything else on stderr.

Started by path inside the environment of its engine, so it imports that engine and the standard library only.
in:  {"number", "prompt", "max_new_tokens", "min_new_tokens", "seed", "stop", "choices"} at any time
out: {"ready": true} once, then {"number", "text", "tokens", "finish"[, "choices"]} as they finish, until stdin ends
"""

import argparse
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

Answer = dict[str, Any]


@dataclass(frozen=True)
class Request:
    number: int
    prompt: str
    max_new_tokens: int
    min_new_tokens: int
    seed: int
    stop: list[str]
    choices: list[str]


@dataclass(frozen=True)
class Options:
    """`batch` is the number of sequences under way at once, `cache_gib` the size of the key-value cache."""

    temperature: float
    top_k: int
    repetition_penalty: float
    batch: int
    cache_gib: int
    batched_tokens: int
    seed: int


class Backend(Protocol):
    def add(self, request: Request) -> None: ...

    def step(self) -> list[Answer]:
        """One step of the model for all requests under way; those that ended with it."""
        ...


class OpenVino:
    """Continuous batching; a prompt's text depends on its own seed only, up to the rounding of a batch."""

    def __init__(self, model: str, options: Options) -> None:
        import openvino_genai as genai  # pyright: ignore[reportMissingImports] -- of another environment

        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = options.cache_gib
        scheduler.max_num_batched_tokens = options.batched_tokens
        scheduler.max_num_seqs = options.batch
        scheduler.enable_prefix_caching = True
        self._genai, self._options = genai, options
        self._pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", {})
        self._tokenizer = self._pipeline.get_tokenizer()
        self._running: dict[int, Any] = {}
        self._reasons = {genai.GenerationFinishReason.STOP: "stop", genai.GenerationFinishReason.LENGTH: "length"}

    def add(self, request: Request) -> None:
        ids = self._tokenizer.encode(request.prompt, add_special_tokens=False).input_ids
        self._running[request.number] = self._pipeline.add_request(request.number, ids, self._configured(request))

    def step(self) -> list[Answer]:
        self._pipeline.step()
        running = self._genai.GenerationStatus.RUNNING
        return [
            self._answer(number) for number, handle in list(self._running.items()) if handle.get_status() != running
        ]

    def _answer(self, number: int) -> Answer:
        outputs = self._running.pop(number).read_all()
        if not outputs:  # given up for want of cache: an empty text is faulty, and asked for again
            return {"number": number, "text": "", "tokens": 0, "finish": "length"}
        output = outputs[0]
        ids = output.generated_ids
        finish = self._reasons.get(output.finish_reason, "length")
        return {"number": number, "text": self._tokenizer.decode(ids), "tokens": len(ids), "finish": finish}

    def _configured(self, request: Request) -> Any:
        config = self._genai.GenerationConfig()
        config.eos_token_id = self._tokenizer.get_eos_token_id()
        config.max_new_tokens = request.max_new_tokens
        config.min_new_tokens = min(request.min_new_tokens, request.max_new_tokens)
        config.repetition_penalty = self._options.repetition_penalty
        if request.stop:
            config.stop_strings, config.include_stop_str_in_output = set(request.stop), True
        if self._options.temperature > 0:
            config.do_sample, config.temperature = True, self._options.temperature
            config.top_k, config.rng_seed = self._options.top_k, request.seed
        return config


class Vllm:
    """Paged attention. A seed a request kills the CPU engine, so only the engine itself has one."""

    def __init__(self, model: str, options: Options) -> None:
        import torch
        from vllm import EngineArgs, LLMEngine, SamplingParams  # pyright: ignore[reportMissingImports]

        self._options, self._parameters = options, SamplingParams
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=model,
                dtype="auto" if torch.cuda.is_available() else "float32",  # it would round to bfloat16 on a CPU
                enforce_eager=True,
                max_model_len=2048,
                block_size=32,  # shared prefixes shorter than a block are not cached
                enable_prefix_caching=True,
                max_num_seqs=options.batch,
                max_num_batched_tokens=max(2048, options.batched_tokens),
                logprobs_mode="processed_logprobs",  # over the allowed tokens alone
                seed=options.seed,
            )
        )
        self._tokenizer = self._engine.get_tokenizer()
        self._asked: dict[int, list[int]] = {}  # the tokens of a request's choices

    def add(self, request: Request) -> None:
        ids = self._tokenizer.encode(request.prompt, add_special_tokens=False)
        sampling = self._choosing(request) if request.choices else self._writing(request)
        self._engine.add_request(str(request.number), {"prompt_token_ids": ids}, sampling)

    def _choosing(self, request: Request) -> Any:
        tokens = [self._tokenizer.encode(choice, add_special_tokens=False)[0] for choice in request.choices]
        self._asked[request.number] = tokens
        return self._parameters(max_tokens=1, temperature=1.0, allowed_token_ids=tokens, logprobs=len(tokens))

    def _writing(self, request: Request) -> Any:
        return self._parameters(
            temperature=self._options.temperature,
            top_k=self._options.top_k,
            repetition_penalty=self._options.repetition_penalty,
            max_tokens=request.max_new_tokens,
            min_tokens=min(request.min_new_tokens, request.max_new_tokens),
            stop=request.stop or None,
            include_stop_str_in_output=True,
        )

    def step(self) -> list[Answer]:
        return [self._answer(result) for result in self._engine.step() if result.finished]

    def _answer(self, result: Any) -> Answer:
        output, number = result.outputs[0], int(result.request_id.split("-")[0])
        finish = output.finish_reason or "length"
        answer = {"number": number, "text": output.text, "tokens": len(output.token_ids), "finish": finish}
        if tokens := self._asked.pop(number, None):
            answer["choices"] = [output.logprobs[0][token].logprob for token in tokens]
        return answer


BACKENDS: dict[str, Callable[[str, Options], Backend]] = {"openvino": OpenVino, "vllm": Vllm}


def answers(backend: Backend, arriving: "queue.SimpleQueue[Request | None]") -> Iterator[Answer]:
    """Whatever is finished, until None arrives and nothing is under way any more."""
    live, open_ = 0, True
    while open_ or live:
        while open_ and (not live or not arriving.empty()):
            request = arriving.get()
            if request is None:
                open_ = False
            else:
                backend.add(request)
                live += 1
        if live:
            for answer in backend.step():
                live -= 1
                yield answer


def serve(backend: Backend, source: TextIO, sink: TextIO) -> None:
    """Answer requests until stdin ends."""

    def send(value: Answer) -> None:
        sink.write(json.dumps(value) + "\n")
        sink.flush()

    def listen() -> None:
        for line in source:
            arriving.put(Request(**json.loads(line)))
        arriving.put(None)

    arriving: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    send({"ready": True})
    threading.Thread(target=listen, daemon=True).start()
    for answer in answers(backend, arriving):
        send(answer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=sorted(BACKENDS))
    parser.add_argument("model")
    parser.add_argument("options", type=json.loads)
    arguments = parser.parse_args()
    sink = os.fdopen(os.dup(1), "w")  # libraries print to stdout too: give them stderr, keep the pipe for answers
    os.dup2(2, 1)
    serve(BACKENDS[arguments.engine](arguments.model, Options(**arguments.options)), sys.stdin, sink)


if __name__ == "__main__":
    main()
