"""What OpenVINO's 8-bit weights do to P(Yes) and to texts, beside the reference (transformers, float32).

    .venv/bin/python -m benchmarks.quantisation --dataset amazon-beauty --order published --model recgen

P(Yes) of held-out pairs: AUC, and how far it moves. Greedy texts: how much of the reference's text is the same from the
start, and how many are faulty. Each way in OpenVINO's own precision of the machine and in float32. Writes
benchmarks/results/quantisation.{json,md}.
"""

import argparse
import itertools
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks import measured
from benchmarks.language import cot_prompts
from core import environments, metrics
from core.progress import say
from core.settings import Workspace
from llm import models, quality
from llm.engines import Request, Sampling, complete, open_engine
from llm.engines.openvino_export import convert
from llm.recgen import evaluate, mixing, scoring
from llm.recgen.scoring import YES_NO, Scorer

TOKENS = 48
SHORTEST = 8
PENALTY = Sampling().repetition_penalty
WAYS = (("fp32", "f32"), ("int8", "f32"), ("int8", "machine"))  # weights, precision of the products
OPENVINO = """
import json, sys
import numpy as np, openvino as ov, openvino_genai as genai
folder, file = sys.argv[1:]
job = json.load(open(file))
hint = {} if job["precision"] == "machine" else {"INFERENCE_PRECISION_HINT": "f32"}
model = ov.Core().compile_model(f"{folder}/openvino_model.xml", "CPU", hint)
names = {name for port in model.inputs for name in port.get_names()}
request, found = model.create_infer_request(), []
for ids in job["ids"]:
    row = np.array([ids], dtype=np.int64)
    asked = {"input_ids": row, "attention_mask": np.ones_like(row), "position_ids": np.arange(len(ids))[None],
             "beam_idx": np.zeros(1, np.int32)}
    request.reset_state()
    logits = request.infer({name: value for name, value in asked.items() if name in names})[0]
    found.append([float(logits[0, -1, token]) for token in job["tokens"]])
pipeline = genai.LLMPipeline(folder, "CPU", **hint)
config = genai.GenerationConfig()
config.max_new_tokens, config.min_new_tokens, config.repetition_penalty = job["length"], job["shortest"], job["penalty"]
config.do_sample, config.apply_chat_template = False, False
texts = [pipeline.generate(prompt, config) for prompt in job["prompts"]]
print(json.dumps({"logits": found, "texts": [str(text) for text in texts]}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """P(Yes): AUC, shifts, rank correlation. Texts: share that is the same from the start, share that is faulty."""

    way: str
    auc: float
    mean_shift: float
    largest_shift: float
    rank: float
    same: float
    faulty: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--order", default="shuffled-ties")
    parser.add_argument("--model", default="base", help="base, a tuned method or a model folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--pairs", type=int, default=100, help="held-out pairs (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=48, help="texts (default: %(default)s)")
    arguments = parser.parse_args()
    ws = Workspace(arguments.dataset, arguments.order)
    name, model = models.find_model(ws, arguments.model, seed=arguments.seed)
    scorer = Scorer(model)
    rows = evaluate.held_out_rows(ws, arguments.pairs, seed=1)
    texts, label = mixing.task_texts(ws, rows, scorer.tokenizer, 512), rows["label"].to_numpy()
    reference = scorer.p_yes(mixing.branched(texts, rows), len(texts))
    prompts = cot_prompts(ws, model, arguments.texts)
    written = _greedy(model, prompts)
    figures = [_figure("transformers, float32", label, reference, reference, written, written)]
    job: dict[str, Any] = {
        "tokens": scorer.first_tokens(YES_NO),
        "prompts": prompts,
        "length": TOKENS,
        "shortest": SHORTEST,
        "penalty": PENALTY,
    }
    job["ids"] = [scorer.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    for weights, precision in WAYS:
        found = _openvino(model, weights, job | {"precision": precision})
        p_yes = scoring.p_yes(np.array(found["logits"]))
        way = f"OpenVINO, {weights} weights, {'float32' if precision == 'f32' else 'the machine’s precision'}"
        figures.append(_figure(way, label, p_yes, reference, found["texts"], written))
        say(str(figures[-1]))
    command = f"python -m benchmarks.quantisation --dataset {ws.dataset} --order {ws.order} --model {arguments.model}"
    command += f" --pairs {arguments.pairs} --texts {arguments.texts}"
    _write(figures, f"{name} on {ws.dataset}, {len(texts)} prompts, {len(prompts)} texts", command)


def _greedy(model: Path, prompts: list[str]) -> list[str]:
    requests = [
        Request(number=n, prompt=prompt, max_new_tokens=TOKENS, min_new_tokens=SHORTEST)
        for n, prompt in enumerate(prompts)
    ]
    texts = [""] * len(prompts)
    with open_engine("transformers", model, Sampling(temperature=0.0, repetition_penalty=PENALTY)) as engine:
        for made in complete(engine, requests):
            texts[made.number] = made.text
    return texts


def _openvino(model: Path, weights: str, job: dict[str, Any]) -> dict[str, Any]:
    python = environments.python("openvino")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        command = [python, "-c", OPENVINO, convert(model, python, weights), file.name]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    return json.loads(done.stdout.splitlines()[-1])


def _figure(way: str, label: Any, p_yes: Any, reference: Any, texts: list[str], written: list[str]) -> Figure:
    shift = np.abs(p_yes - reference)
    faults = [set(quality.FAULTY) & set(quality.flags([""], [text], ["stop"])) for text in texts]
    return Figure(
        way=way,
        auc=round(metrics.auc(label, p_yes), 4),
        mean_shift=round(float(shift.mean()), 5),
        largest_shift=round(float(shift.max()), 5),
        rank=round(float(spearmanr(p_yes, reference)[0]), 4),  # pyright: ignore[reportArgumentType]
        same=round(float(np.mean([_same(one, other) for one, other in zip(texts, written, strict=True)])), 3),
        faulty=round(float(np.mean([bool(some) for some in faults])), 3),
    )


def _same(text: str, other: str) -> float:
    """The share of the other text's words that this one begins with."""
    ours, theirs = text.split(), other.split()
    same = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
    return len(same) / len(theirs) if theirs else float(not ours)


def _write(figures: list[Figure], what: str, command: str) -> None:
    lines = [
        "# What 8-bit weights do",
        "",
        f"{what}; greedy texts of {TOKENS} tokens. On {measured.sentence()}. `{command}`",
        "",
        "| way | AUC of P(Yes) | mean shift | largest | rank correlation | same words from the start | faulty texts |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(map(str, asdict(figure).values()))} |" for figure in figures),
        "",
    ]
    account = {"command": command, "what": what, "figures": list(map(asdict, figures))}
    measured.write("quantisation", account, "\n".join(lines))
    say("\n".join(lines))


if __name__ == "__main__":
    main()
