"""RecGen (paper section 4.2): full-parameter fine-tuning on recommendation plus general instructions.

The training runs in `llm.recgen_worker` under torchrun, a process a device; this module chooses the samples, starts it
and keeps what it made.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from core import settings, steps, storage
from core.contracts import RECIPES
from core.data import texts
from core.errors import LlmcfError, UsageError, check_choice
from core.progress import say
from core.runs import Estimate, Result
from core.settings import PROJECT, Workspace
from llm import budget, models, prompts
from llm.contexts import contexts, training_split

OWN_INSTRUCTIONS = PROJECT / "llm" / "general_instructions.jsonl"
LICENCES = {
    "llmcf": "Apache-2.0",
    "lima": "CC BY-NC-SA",
    "alpaca_en_demo": "CC BY-NC",
    "self_instruct_seed": "Apache-2.0",
    "self_instruct_user_oriented": "Apache-2.0",
}
_TOKENS_A_SECOND = 900  # trained, forward and backward, 135M parameters in float32 on 2 cores
_FIRST_BUILD_S = 150  # DeepSpeed compiles an operator the first time
BUILD = "build"  # what the worker is given instead of a job
_BUILT = "built"  # marks a finished build
_ANSWER_TOKENS = 4  # of "Yes" or "No" and its end
_TEXT_LIMIT = 4000  # characters of one general text; the worker cuts to tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class RecGenConfig:
    """The paper trains one epoch with 16 sequences of 1,024 tokens on each of 8 GPUs; this is a run for two cores."""

    recipe: str
    seed: int
    model: str = models.LLM
    steps: int = 8
    batch: int = 4  # sequences a process
    processes: int = 1
    max_tokens: int = 192
    learning_rate: float = 1e-5
    warmup: int = 2
    general_share: float = 0.5  # of the samples


def train(ws: Workspace, *, recipe: str, seed: int, steps: int | None = None, processes: int = 1) -> Result:
    """Fine-tune and keep the model as ws.path("recgen", "<recipe>-s<seed>").

    Raises:
        LlmcfError: if an input is missing, or a training process dies (with the end of what it said).
    """
    config = resolve(recipe=recipe, seed=seed, steps=steps, processes=processes)
    done = _run(ws, config)
    return Result(
        verb="recgen train",
        workspace=ws,
        recipe=recipe,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"model": str(done.folder), "losses": str(done.folder / "losses.json")},
        details=done.summary,
    )


def resolve(*, recipe: str, seed: int, steps: int | None, processes: int) -> RecGenConfig:
    check_choice("recipe", recipe, RECIPES)
    config = RecGenConfig(recipe=recipe, seed=seed, processes=processes)
    return config if steps is None else RecGenConfig(recipe=recipe, seed=seed, processes=processes, steps=steps)


def estimate_train(ws: Workspace, *, recipe: str, steps: int | None = None) -> Estimate:  # noqa: ARG001
    """What `train` would take on two cores."""
    config = resolve(recipe=recipe, seed=0, steps=steps, processes=1)
    tokens = config.steps * config.batch * config.max_tokens
    return Estimate(
        seconds=_FIRST_BUILD_S + 20 + tokens / _TOKENS_A_SECOND,
        memory_mib=4500,
        disk_mib=550,
        basis=f"{tokens:,} tokens at most at {_TOKENS_A_SECOND} a second, 20 s to start, {_FIRST_BUILD_S} s for "
        "DeepSpeed's one-time build; weights, gradients and two Adam moments of 135M float32 parameters",
    )


def model_folder(ws: Workspace, *, recipe: str, seed: int) -> Path:
    return ws.path("recgen", f"{recipe}-s{seed}")


def _run(ws: Workspace, config: RecGenConfig) -> steps.Outcome:
    general = general_file()
    step = steps.Step(
        folder=model_folder(ws, recipe=config.recipe, seed=config.seed),
        config=config,
        inputs=[models.llm_path(config.model), ws.path("training"), ws.path("data"), general],
        code=["llm/recgen.py", "llm/recgen_worker.py", "llm/prompts.py", "llm/contexts.py", "llm/budget.py"],
    )

    def work(folder: Path) -> dict[str, Any]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(models.llm_path(config.model), local_files_only=True)
        samples, sources = mix(ws, config, general, tokenizer)
        launch(config, samples, model=models.llm_path(config.model), out=folder)
        losses = storage.read_json(folder / "losses.json")["train"]
        if not all(loss == loss and abs(loss) != float("inf") for loss in losses):  # NaN is not equal to itself
            raise LlmcfError(f"the loss diverged at step {len(losses)}; use a smaller learning rate")
        return {
            "base": config.model,
            "steps": len(losses),
            "first_loss": round(losses[0], 4),
            "last_loss": round(losses[-1], 4),
            "processes": config.processes,
            "samples": len(samples),
            "sources": sources,
        }

    return steps.run(step, work)


def general_file() -> Path:
    """General instructions: the shared file where there is one, else the product's own small set."""
    shared = settings.shared() / "data" / "general_instructions" / "general_instructions.jsonl"
    return shared if shared.is_file() else OWN_INSTRUCTIONS


def mix(
    ws: Workspace, config: RecGenConfig, general: Path, tokenizer: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The run's samples in training order, and what they are: source -> rows and licence.

    Recommendation rows are drawn from the training split only; a long one loses its oldest history.
    """
    rng = random.Random(config.seed)  # noqa: S311 - sampling, not secrets
    total = config.steps * config.batch * config.processes
    wanted = round(total * config.general_share)
    instructions = read_instructions(general)
    chosen = [rng.choice(instructions) for _ in range(wanted)]
    rows = training_split(ws)
    picked = sorted(rng.sample(range(rows.num_rows), min(total - wanted, rows.num_rows)))
    words = prompts.domain(ws.dataset)
    fitted = budget.fit(
        contexts(ws, rows.take(picked)),
        lambda context: prompts.render(prompts.task_prompt(context, words), tokenizer),
        tokenizer,
        newest=prompts.TASK_HISTORY,
        tokens=config.max_tokens - _ANSWER_TOKENS,
    )
    recommendation = [
        {"messages": prompts.task_prompt(context, words), "answer": prompts.task_answer(context)} for context in fitted
    ]
    samples = [*recommendation, *({"messages": c["messages"], "answer": c["answer"]} for c in chosen)]
    rng.shuffle(samples)
    counts = {ws.dataset: {"rows": len(recommendation), "licence": "see NOTICE"}}
    for source in sorted({c["source"] for c in chosen}):
        rows_of = sum(c["source"] == source for c in chosen)
        counts[source] = {"rows": rows_of, "licence": LICENCES.get(source, "see its file")}
    return samples, counts


def read_instructions(path: Path) -> list[dict[str, Any]]:
    """General instruction and answer pairs from JSON lines {source, instruction, input, output}.

    Raises:
        UsageError: naming the file and line that is not such an object.
    """
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            question = "\n".join(filter(None, [entry["instruction"], entry.get("input", "")]))
            answer, source = entry["output"], entry["source"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}, line {number}: not an object with source, instruction, output ({error})"
            ) from None
        if question.strip() and answer.strip():
            message = {"role": "user", "content": texts.clean(question, _TEXT_LIMIT)}
            out.append({"messages": [message], "answer": answer[:_TEXT_LIMIT], "source": source})
    if not out:
        raise UsageError(f"{path} holds no instructions")
    return out


def launch(config: RecGenConfig, samples: list[dict[str, Any]], *, model: Path, out: Path) -> None:
    """Run the worker under torchrun until it has filled `out`.

    Raises:
        LlmcfError: with the last lines it printed, if it fails.
    """
    job = out.with_name(f"{out.name}.job.json")
    fields = ("seed", "learning_rate", "steps", "warmup", "max_tokens", "batch")
    storage.write_json(
        job, {"model": str(model), "out": str(out), "samples": samples} | {f: getattr(config, f) for f in fields}
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(config.processes)]
    try:
        _watch([sys.executable, *torchrun, "-m", "llm.recgen_worker", str(job)], _environment(_extensions()))
    finally:
        job.unlink(missing_ok=True)


def _watch(command: list[str], environment: dict[str, str]) -> None:
    """Run, pass its progress on, keep its last lines for the error."""
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                if line.startswith("recgen:"):
                    say(line.rstrip())
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise LlmcfError(f"the training process ended with code {code}:\n" + "\n".join(last))


def _environment(extensions: Path) -> dict[str, str]:
    import torch

    out = {
        **os.environ,
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not torch.cuda.is_available():
        out["DS_ACCELERATOR"] = "cpu"
    path = str(Path(sys.executable).parent)  # ninja, for DeepSpeed's build
    return out | {"PATH": f"{path}{os.pathsep}{out.get('PATH', '')}"}


def _extensions() -> Path:
    """The folder of DeepSpeed's compiled operators; the first run on a machine compiles them, one process at a time.

    A build that was killed leaves a lock file that later ones would wait for without end. Nobody else builds while we
    hold our own lock, so it is removed.
    """
    import torch

    version = re.sub(r"\W+", "_", torch.__version__)
    folder = settings.home() / "torch-extensions" / version
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{version}.lock")):
        if not (folder / _BUILT).exists():
            for left_over in folder.rglob("lock"):
                left_over.unlink()
            say("recgen: compiling DeepSpeed's operators, once on this machine")
            _watch([sys.executable, "-m", "llm.recgen_worker", BUILD], _environment(folder))
            (folder / _BUILT).touch()
    return folder
