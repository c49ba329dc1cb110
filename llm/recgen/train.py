"""`llmcf recgen train`: tune the language model by one of the methods of Figure 4 (paper section 4.2).

RecGen is full-parameter tuning on recommendation rows and general instructions. The training runs in
`llm.recgen.worker` under torchrun; this module decides on the samples, starts it and keeps what it made.
"""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import processor, settings, steps, storage, torchrun
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.progress import say
from core.result import Estimate, Result
from core.settings import Workspace
from llm import models
from llm.contexts import training_split
from llm.recgen import launch, mixing
from llm.recgen.recipes import TuningConfig

_TOKENS_A_SECOND = 200  # trained, forward and backward, 135M parameters in float32 on 2 cores
_SAMPLE_TOKENS = 160
_MEMORY_MIB = 11_000  # the peak at 8 sequences of up to 256 tokens, 135M parameters
_FIRST_BUILD_S = 150  # DeepSpeed compiles an operator the first time
_SHARED = ("budget", "contexts", "methods", "prompts")
_OWN = ("launch", "loss", "mixing", "recipes", "train", "worker")
_ROWS = ("core/data/sampling.py", "core/data/texts.py")
CODE = (*(f"llm/{name}.py" for name in _SHARED), *(f"llm/recgen/{name}.py" for name in _OWN), *_ROWS)


def train(ws: Workspace, config: TuningConfig) -> Result:
    """Tune and keep the model in `models.tuned_folder`. `base` has nothing to train; `wise-ft-*` needs `full` first.

    Raises:
        UsageError: for the method `base`.
        LlmcfError: if an input is missing, or a training process dies (with the end of what it said).
    """
    if config.method == "base":
        raise UsageError("method 'base' is the model as it came: there is nothing to train")
    done = steps.run(_step(ws, config), lambda folder: _work(ws, config, folder))
    return Result(
        verb="recgen train",
        workspace=ws,
        seed=config.seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={name: str(done.folder / file) for name, file in _ARTIFACTS.items() if (done.folder / file).exists()}
        | {"model": str(done.folder)},
        details=done.summary,
    )


_ARTIFACTS = {"losses": "losses.json", "rows": "rows.parquet"}


def estimate_train(ws: Workspace, config: TuningConfig) -> Estimate:
    """What `train` would take on two cores."""
    how = config.how
    available = training_split(ws).num_rows
    rows = available if config.rows is None else min(config.rows, available)
    general = rows * config.mix.general_share / (1 - config.mix.general_share)
    samples = (rows * how.share + general) if how.trains else 0
    cost = 0.8 if how.lora_rank else 2.3 if how.consistency else 1.0
    tokens = samples * min(_SAMPLE_TOKENS, config.max_tokens)
    pace = _TOKENS_A_SECOND * (1.7 if config.precision == "bfloat16" and processor.multiplies_bfloat16() else 1.0)
    return Estimate(
        seconds=(_FIRST_BUILD_S + 20 + tokens * cost / pace / config.processes) if how.trains else 20,
        memory_mib=_MEMORY_MIB * (1.4 if how.consistency else 1.0) * (0.5 + config.batch / 16),
        disk_mib=550 + (1650 if samples > config.batch * config.checkpoint_steps else 0),
        basis=f"{samples:,.0f} samples of about {_SAMPLE_TOKENS} tokens at {pace:.0f} a second, 20 s to start, "
        f"{_FIRST_BUILD_S} s for DeepSpeed's one-time build; weights, gradients and two Adam moments of 135M float32 "
        "parameters, and a checkpoint of three of them",
    )


def _step(ws: Workspace, config: TuningConfig) -> steps.Step:
    base = models.llm_path(config.model)
    inputs = [base, ws.path("training"), ws.path("data"), mixing.general_file()]
    if config.how.alpha is not None:
        inputs = [base, _full(ws, config)]
    tables.training_rows(ws)  # names the verb that makes them, where they are missing
    return steps.Step(
        folder=models.tuned_folder(ws, method=config.method, seed=config.seed),
        config=config,
        inputs=inputs,
        code=CODE,
    )


def _work(ws: Workspace, config: TuningConfig, folder: Path) -> dict[str, Any]:
    if config.how.alpha is not None:
        return _interpolate(ws, config, folder)
    estimate = estimate_train(ws, config)
    say(f"recgen: {config.method}, about {estimate.seconds / 60:.0f} min, {estimate.memory_mib:,.0f} MiB of memory")
    samples, rows, sources = _samples(ws, config)
    if len(samples) < config.batch * config.accumulation * config.processes * config.nodes:
        raise UsageError(f"{len(samples)} samples do not fill one step; take more rows or a smaller batch")
    _run_worker(config, samples, folder)
    told = {mixing.ROWS_OF: steps.content_of(ws.path("training"))}  # by whose numbers
    pq.write_table(rows.replace_schema_metadata(told), folder / "rows.parquet")  # every other row is out of fold
    losses = storage.read_json(folder / "losses.json")["train"]
    if not all(map(math.isfinite, losses)):
        raise LlmcfError(f"the loss diverged at step {len(losses)}; use a smaller learning rate")
    tenth = max(1, len(losses) // 10)
    return {
        "base": config.model,
        "base_hash": models.model_hash(models.llm_path(config.model)),
        "method": config.method,
        "steps": len(losses),
        "first_loss": round(sum(losses[:tenth]) / tenth, 4),
        "last_loss": round(sum(losses[-tenth:]) / tenth, 4),
        "processes": config.processes * config.nodes,
        "samples": len(samples),
        "sources": sources,
    }


def join(ws: Workspace, config: TuningConfig) -> Result:
    """Take part in a run of several machines that `train` leads on another one, over a shared LLMCF_HOME.

    Raises:
        LlmcfError: if nobody leads such a run within ten minutes, or it fails.
    """
    start = time.monotonic()
    _, place = _job(config, _samples(ws, config)[0])
    torchrun.await_job(place / "job.json")
    launch.worker(place / "job.json", processes=config.processes, nodes=config.nodes)
    return Result(verb="recgen join", workspace=ws, seed=config.seed, seconds=time.monotonic() - start)


def _samples(ws: Workspace, config: TuningConfig) -> tuple[list[mixing.Sample], pa.Table, dict[str, Any]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models.llm_path(config.model), local_files_only=True)
    return mixing.mixed(ws, config.mix, mixing.general_file(), tokenizer, config.max_tokens)


def _job(config: TuningConfig, samples: list[mixing.Sample]) -> tuple[dict[str, Any], Path]:
    """What the worker is told, and the folder of the run, which its content names: a killed run finds its own again."""
    how, base = config.how, models.llm_path(config.model)
    job: dict[str, Any] = {"model": str(base), "base": models.model_hash(base)}
    job |= {name: value for name, value in asdict(config).items() if name not in ("method", "model", "rows")}
    job |= {"lora_rank": how.lora_rank, "noise": how.noise, "consistency": how.consistency}
    job["lengths"] = [len(s["text"]) + sum(len(tail) + len(answer) for tail, answer in s["branches"]) for s in samples]
    return job, settings.home() / "recgen-runs" / storage.digest(job, samples)[:16]


def _run_worker(config: TuningConfig, samples: list[mixing.Sample], folder: Path) -> None:
    job, place = _job(config, samples)
    place.mkdir(parents=True, exist_ok=True)
    with storage.atomic_path(place / "samples.jsonl") as beside:
        beside.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    job |= {"samples": str(place / "samples.jsonl"), "checkpoints": str(place / "checkpoints"), "out": str(folder)}
    storage.write_json(place / "job.json", job)
    launch.worker(place / "job.json", processes=config.processes, nodes=config.nodes)
    storage.remove(place)


def _full(ws: Workspace, config: TuningConfig) -> Path:
    """The folder of `full`, tuned from the very base that is to be interpolated with.

    Raises:
        LlmcfError: if it is not trained, or was tuned from another model.
    """
    _, folder = models.find_model(ws, "full", seed=config.seed)
    made = storage.read_json(folder / steps.STAMP)["summary"]
    if made.get("base_hash") != models.model_hash(models.llm_path(config.model)):
        again = tables.remedy(ws, f"recgen train --method full --seed {config.seed} --model {config.model}")
        raise Missing(f"{folder.name} was tuned from {made['base']}, not from this {config.model}", again)
    return folder


def _interpolate(ws: Workspace, config: TuningConfig, folder: Path) -> dict[str, Any]:
    """WiSE-FT: the weights between the base model's and `full`'s."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    alpha = config.how.alpha
    assert alpha is not None
    base, full = models.llm_path(config.model), _full(ws, config)
    first, second = (
        AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype=torch.float32) for path in (base, full)
    )
    with torch.no_grad():
        for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
            ours.lerp_(theirs, alpha)
    first.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(folder)
    pq.write_table(pq.read_table(full / "rows.parquet"), folder / "rows.parquet")
    return {"base": config.model, "method": config.method, "alpha": alpha, "full": full.name}
