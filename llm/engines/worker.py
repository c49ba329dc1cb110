"""The engine side of a worker process: one JSON object a line on stdin and stdout, everything else on stderr.

Started by path inside the environment of its engine, so it imports that engine and the standard library only.
in:  {"prompts": [...], "seeds": [...], "seed": n, "max_new_tokens": n}
out: {"ready": true} once, then for each job {"index", "text", "tokens", "finish"} in order of finishing, {"done": true}
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

Answer = dict[str, Any]
Write = Callable[["Job"], Iterator[Answer]]


@dataclass(frozen=True)
class Job:
    prompts: list[str]
    seeds: list[int]
    seed: int
    max_new_tokens: int


@dataclass(frozen=True)
class Options:
    """`batch` is the number of sequences under way at once, `cache_gib` the size of the key-value cache."""

    temperature: float
    top_k: int
    repetition_penalty: float
    min_new_tokens: int
    batch: int
    cache_gib: int
    batched_tokens: int
    seed: int


def openvino(model: str, options: Options) -> Write:
    """Continuous batching; a prompt's text depends on its own seed only, up to the rounding of a batch."""
    import openvino_genai as genai  # pyright: ignore[reportMissingImports] -- of another environment

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = options.cache_gib
    scheduler.max_num_batched_tokens = options.batched_tokens
    scheduler.max_num_seqs = options.batch
    scheduler.enable_prefix_caching = True
    pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", {})
    tokenizer = pipeline.get_tokenizer()
    reasons = {genai.GenerationFinishReason.STOP: "stop", genai.GenerationFinishReason.LENGTH: "length"}

    def configure(job: Job, index: int) -> Any:
        config = genai.GenerationConfig()
        config.eos_token_id = tokenizer.get_eos_token_id()
        config.max_new_tokens = job.max_new_tokens
        config.min_new_tokens = min(options.min_new_tokens, job.max_new_tokens)
        config.repetition_penalty = options.repetition_penalty
        if options.temperature > 0:
            config.do_sample, config.temperature, config.top_k = True, options.temperature, options.top_k
            config.rng_seed = job.seeds[index]
        return config

    def write(job: Job) -> Iterator[Answer]:
        waiting = iter(enumerate(job.prompts))
        running: dict[int, Any] = {}
        exhausted = False
        while not exhausted or running:
            while not exhausted and len(running) < options.batch:
                if (entry := next(waiting, None)) is None:
                    exhausted = True
                    break
                tokens = tokenizer.encode(entry[1], add_special_tokens=False).input_ids
                running[entry[0]] = pipeline.add_request(entry[0], tokens, configure(job, entry[0]))
            pipeline.step()
            for index in [i for i, handle in running.items() if _finished(handle)]:
                output = running.pop(index).read_all()[0]
                ids = output.generated_ids
                finish = reasons.get(output.finish_reason, "length")
                yield {"index": index, "text": tokenizer.decode(ids), "tokens": len(ids), "finish": finish}

    def _finished(handle: Any) -> bool:
        return handle.get_status() != genai.GenerationStatus.RUNNING

    return write


def vllm(model: str, options: Options) -> Write:
    """Paged attention. A seed a request kills the CPU engine, so only the engine itself has one."""
    from vllm import EngineArgs, LLMEngine, SamplingParams  # pyright: ignore[reportMissingImports]

    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=model,
            enforce_eager=True,
            max_model_len=2048,
            block_size=32,  # shared prefixes shorter than a block are not cached
            enable_prefix_caching=True,
            max_num_seqs=options.batch,
            max_num_batched_tokens=max(2048, options.batched_tokens),
            seed=options.seed,
        )
    )

    def write(job: Job) -> Iterator[Answer]:
        sampling = SamplingParams(
            temperature=options.temperature,
            top_k=options.top_k,
            repetition_penalty=options.repetition_penalty,
            max_tokens=job.max_new_tokens,
            min_tokens=min(options.min_new_tokens, job.max_new_tokens),
        )
        tokenizer = engine.get_tokenizer()
        for index, prompt in enumerate(job.prompts):
            ids = tokenizer.encode(prompt, add_special_tokens=False)
            engine.add_request(str(index), {"prompt_token_ids": ids}, sampling)
        while engine.has_unfinished_requests():
            for result in engine.step():
                if result.finished:
                    output = result.outputs[0]
                    finish = output.finish_reason or "length"
                    index = int(result.request_id.split("-")[0])
                    yield {"index": index, "text": output.text, "tokens": len(output.token_ids), "finish": finish}

    return write


ENGINES: dict[str, Callable[[str, Options], Write]] = {"openvino": openvino, "vllm": vllm}


def serve(write: Write, source: TextIO, sink: TextIO) -> None:
    """Answer jobs until stdin ends."""

    def send(value: Answer) -> None:
        sink.write(json.dumps(value) + "\n")
        sink.flush()

    send({"ready": True})
    for line in source:
        for answer in write(Job(**json.loads(line))):
            send(answer)
        send({"done": True})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=sorted(ENGINES))
    parser.add_argument("model")
    parser.add_argument("options", type=json.loads)
    arguments = parser.parse_args()
    sink = os.fdopen(os.dup(1), "w")  # libraries print to stdout too: give them stderr, keep the pipe for answers
    os.dup2(2, 1)
    serve(ENGINES[arguments.engine](arguments.model, Options(**arguments.options)), sys.stdin, sink)


if __name__ == "__main__":
    main()
