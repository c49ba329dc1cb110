"""`llmcf cot generate`: a chain of thought for a sample of the training rows (METHOD 5)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from core import schemas
from core.data import tables
from core.errors import LlmcfError
from core.result import Estimate, Result
from core.settings import Workspace
from llm import prompts, quality
from llm.contexts import Context, contexts, training_split
from llm.cot import wording
from llm.cot.recipes import GenerateConfig
from llm.cot.selection import choose
from llm.texts import job as shared
from llm.texts import machine
from llm.texts.job import Question, TextJob
from llm.texts.queue import Part
from llm.texts.recipes import Budget
from llm.texts.wording import TextPrompt

VERB = "cot generate"
SHARE = 10  # a chain of thought for one training row in ten, as in the paper
_RATES = {"openvino": 270, "vllm": 45, "transformers": 35, "server": 45}  # new tokens a second, 135M, 2 cores
_STARTS = {"openvino": 60, "vllm": 60, "transformers": 10, "server": 1}  # seconds; OpenVINO converts a model once
_MEAN_SHARE = 0.6  # of part_tokens, before the sentence ends
_OWN = ("generate", "judge", "recipes", "selection", "wording")
CODE = (*shared.CODE, *(f"llm/cot/{name}.py" for name in _OWN))


def generate(
    ws: Workspace, config: GenerateConfig, limits: Budget | None = None, part: Part | None = None, *, ray: bool = False
) -> Result:
    """Fill cot/texts; see `machine.generate`."""
    return machine.generate(ws, job(ws, config), limits, part, ray=ray)


def job(ws: Workspace, config: GenerateConfig) -> TextJob:
    """The chains of thought under `config`.

    Raises:
        LlmcfError: if there are no training rows, naming the verb that makes them.
    """
    tables.training_rows(ws)
    return TextJob(
        verb=VERB,
        config=config,
        wording=wording.VERSION,
        folder=ws.cot("texts"),
        inputs=[ws.path("data"), ws.path("training")],
        code=CODE,
        schema=schemas.COT_TEXTS,
        ask=lambda model: _ask(ws, config, model),
        choose=lambda table, asked: _best(config, table, asked),
        summarise=lambda table: _summary(config, table),
        strip_decision=not config.told,
        recipe=config.recipe,
    )


def estimate_generate(ws: Workspace, config: GenerateConfig) -> Estimate:
    """What `generate` would take on two cores with the carried model and an empty cache."""
    available = training_split(ws).num_rows
    count = min(available, config.limit or max(1, available // SHARE)) * config.candidates
    tokens = count * config.manner.part_tokens * _MEAN_SHARE * (4 if config.style == "guided" else 1)
    engine = config.engine
    return Estimate(
        seconds=_STARTS[engine] + tokens / _RATES[engine],
        memory_mib=7000 if engine == "vllm" else 5000,
        disk_mib=140 + count * 2e-3,
        basis=f"{count:,} texts of about {tokens / count:.0f} tokens at {_RATES[engine]} a second "
        f"({engine}, 135M parameters), {_STARTS[engine]} s to convert or start; cached texts cost nothing",
    )


def _drawn(ws: Workspace, config: GenerateConfig) -> list[Context]:
    """The chosen rows in words."""
    split = training_split(ws)
    if not split.num_rows:
        raise LlmcfError(f"{ws.dataset} has no training rows under the order {ws.order}, as of {ws.as_of}")
    count = max(1, split.num_rows // SHARE) if config.limit is None else config.limit
    rows = choose(ws, split, count, selection=config.selection, seed=config.seed)
    return contexts(ws, rows, comments=config.comments == "own")


def _ask(ws: Workspace, config: GenerateConfig, model: Path) -> list[Question]:
    words = prompts.domain(ws.dataset)

    def put(context: Context) -> TextPrompt:
        return wording.cot_prompt(context, words, style=config.style, state_label=config.told)

    subjects = [({"row": context.row}, context) for context in _drawn(ws, config)]
    return shared.questions(
        subjects, put, model, newest=wording.HISTORY, tokens=config.prompt_tokens, candidates=config.candidates
    )


def _best(config: GenerateConfig, table: pa.Table, asked: Sequence[Question]) -> pa.Table:
    """One text a row; the label has a say only where the model was told it."""
    if config.candidates == 1:
        return table
    from llm.cot import judge

    return judge.best(table, {one.context.row: one.context for one in asked}, blind=not config.told)


def _summary(config: GenerateConfig, table: pa.Table) -> dict[str, Any]:
    flagged = Counter(flag for flags in table["flags"].to_pylist() for flag in flags)
    return {
        "style": config.style,
        "stopped_by_itself": round(table["finish"].to_pylist().count("stop") / table.num_rows, 3),
        "flags": {name: round(flagged[name] / table.num_rows, 4) for name in quality.FLAGS},
    }
