"""What our way to generate, score and embed costs beside the bare libraries, each pair in one run on the same texts.

    .venv/bin/python -m benchmarks.language

Generation: tokens a second of OpenVINO's own loop in its own process, and of our engine, queue and cache around it.
Scoring: prompts a second of the padded full-logit loop, and of shared starts and branches. Embedding: texts a second of
bare sentence-transformers, and of our encoder. Writes benchmarks/results/language.{json,md}.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measured
from core import environments
from core.progress import say
from core.settings import Workspace
from llm import models, prompts
from llm.contexts import contexts, training_split
from llm.cot import wording
from llm.engines import Request, Sampling, complete, open_engine, prompt_seed
from llm.engines.openvino_export import convert
from llm.recgen import evaluate, mixing
from llm.recgen.scoring import YES_NO, Scorer
from llm.texts.encoder import Encoder, on_openvino
from tests.other_scores import naive

SAMPLING = Sampling()
TOKENS = 48
BARE = """
import json, sys, time
import openvino_genai as genai
model, file = sys.argv[1:]
jobs = json.load(open(file))
scheduler = genai.SchedulerConfig()
scheduler.cache_size, scheduler.max_num_batched_tokens, scheduler.max_num_seqs = 4, 1024, 64
scheduler.enable_prefix_caching = True
pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", {})
tokenizer = pipeline.get_tokenizer()
config = genai.GenerationConfig()
config.eos_token_id = tokenizer.get_eos_token_id()
config.max_new_tokens, config.repetition_penalty = jobs["tokens"], 1.05
config.do_sample, config.temperature, config.top_k = True, 0.6, 50
start = time.monotonic()
handles = [
    pipeline.add_request(n, tokenizer.encode(prompt, add_special_tokens=False).input_ids, config)
    for n, prompt in enumerate(jobs["prompts"])
]
while pipeline.has_non_finished_requests():
    pipeline.step()
tokens = sum(len(handle.read_all()[0].generated_ids) for handle in handles)
seconds = time.monotonic() - start
print(json.dumps({"seconds": seconds, "tokens": tokens}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`rate` is of `unit` a second; `ratio` compares with the bare way of the same run."""

    job: str
    way: str
    unit: str
    rate: float
    ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--order", default="shuffled-ties")
    parser.add_argument("--texts", type=int, default=192, help="prompts of each job (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times each pair takes turns (default: %(default)s)")
    arguments = parser.parse_args()
    ws = Workspace(arguments.dataset, arguments.order)
    model = models.llm_path(models.LLM)
    asked = cot_prompts(ws, model, arguments.texts)
    figures = _pair("generation", "tokens", arguments.rounds, {
        "OpenVINO's own loop": lambda: _bare(model, asked), "our engine": lambda: _ours(model, asked),
    })  # fmt: skip
    scorer = Scorer(model)
    rows = evaluate.held_out_rows(ws, arguments.texts // 4, seed=1)
    texts = mixing.task_texts(ws, rows, scorer.tokenizer, 512)
    samples = mixing.branched(texts, rows)
    figures += _pair("scoring P(Yes)", "prompts", arguments.rounds, {
        "padded, all logits": lambda: _timed(len(texts), lambda: naive(scorer, texts, YES_NO)),
        "shared starts and branches": lambda: _timed(len(texts), lambda: scorer.p_yes(samples, len(texts))),
    })  # fmt: skip
    bare, encoder = (Encoder(models.ENCODER, openvino=ours) for ours in (False, True))
    faster = Encoder(models.ENCODER, openvino=False)
    transformer: Any = faster.model[0]
    transformer.model = on_openvino(transformer.model, "bf16")
    long = [prompt[-400:] for prompt in asked] * 2
    figures += _pair("embedding", "texts", arguments.rounds, {
        "sentence-transformers": lambda: _timed(len(long), lambda: bare.model.encode(long, normalize_embeddings=True)),
        "its transformer on torch, small batches": lambda: _timed(len(long), lambda: bare(long)),
        "our encoder, on OpenVINO": lambda: _timed(len(long), lambda: encoder(long)),
        "the same in bfloat16": lambda: _timed(len(long), lambda: faster(long)),
    })  # fmt: skip
    command = f"python -m benchmarks.language --dataset {ws.dataset} --order {ws.order} --texts {arguments.texts}"
    _write(figures, ws, command)


def _pair(job: str, unit: str, rounds: int, ways: dict[str, Callable[[], float]]) -> list[Figure]:
    """The ways take turns, so that a busy moment of the machine hits all; medians of the rounds."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in list(ways.items())[:: 1 if number % 2 == 0 else -1]:
            rates[way].append(run())
            say(f"{job}, {way}: {rates[way][-1]:.1f} {unit} a second")
    bare = float(np.median(next(iter(rates.values()))))
    medians = {way: float(np.median(some)) for way, some in rates.items()}
    return [
        Figure(job=job, way=way, unit=unit, rate=round(rate, 2), ratio=round(rate / bare, 3))
        for way, rate in medians.items()
    ]


def cot_prompts(ws: Workspace, model: Path, count: int) -> list[str]:
    """What a model is asked about the first rows after the thousandth, up to where it goes on."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    words = prompts.domain(ws.dataset)
    some = contexts(ws, training_split(ws).slice(1000, count))
    asked = [wording.cot_prompt(context, words, style="led", state_label=False) for context in some]
    return [prompts.render(one.messages, tokenizer) + one.openings[0] for one in asked]


def _bare(model: Path, asked: list[str]) -> float:
    python = environments.python("openvino")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"prompts": asked, "tokens": TOKENS}, file)
        file.flush()
        command = [python, "-c", BARE, convert(model, python), file.name]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    found = json.loads(done.stdout.splitlines()[-1])
    return found["tokens"] / found["seconds"]


def _ours(model: Path, asked: list[str]) -> float:
    requests = [
        Request(number=n, prompt=prompt, max_new_tokens=TOKENS, seed=prompt_seed(prompt, 1))
        for n, prompt in enumerate(asked)
    ]
    with open_engine("openvino", model, SAMPLING) as engine:
        start = time.monotonic()
        tokens = sum(made.tokens for made in complete(engine, requests))
        return tokens / (time.monotonic() - start)


def _timed(count: int, work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return count / (time.monotonic() - start)


def _write(figures: list[Figure], ws: Workspace, command: str) -> None:
    lines = [
        "# Generating, scoring and embedding beside the bare libraries",
        "",
        f"SmolLM2-135M-Instruct and all-MiniLM-L6-v2 on texts of {ws.dataset}; each pair in turns, medians.",
        f"On {measured.sentence()}. `{command}`",
        "",
        "| job | way | a second | of the bare way |",
        "|---|---|---|---|",
        *(f"| {one.job} | {one.way} | {one.rate:,.1f} {one.unit} | {one.ratio:.2f} |" for one in figures),
        "",
    ]
    account = {"command": command, "dataset": ws.dataset, "figures": list(map(asdict, figures))}
    measured.write("language", account, "\n".join(lines))
    say("\n".join(lines))


if __name__ == "__main__":
    main()
