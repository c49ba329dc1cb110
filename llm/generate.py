"""`llmcf cot generate`: a chain of thought for a uniform sample of the training rows (METHOD 5)."""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from core import schemas, steps, storage
from core.contracts import RECIPES
from core.data import tables
from core.errors import UsageError, check_choice
from core.progress import say, track
from core.runs import Estimate, Result
from core.settings import Workspace
from llm import budget, engines, models, prompts, quality
from llm.cache import Entry, TextCache, prompt_hash
from llm.contexts import Context, contexts, training_split
from llm.engines import Sampling

MAX_NEW_TOKENS = 64
PROMPT_TOKENS = 512
_LONGEST = 1024
_SHARE = 10  # a chain of thought for one training row in ten, as in the paper
_RATES = {"openvino": 170, "vllm": 45, "transformers": 35}  # new tokens a second, 135M parameters, 2 cores
_STARTS = {"openvino": 60, "vllm": 60, "transformers": 10}  # seconds; OpenVINO's conversion is once a model
_MEAN_SHARE = 0.6  # of max_new_tokens, before the model stops by itself
_CODE = ("budget", "contexts", "engines", "generate", "prompts", "quality")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig:
    """Everything the texts depend on besides the rows; `model` is the digest of its weights and tokenizer."""

    engine: str
    model: str
    recipe: str
    seed: int
    limit: int | None
    max_new_tokens: int
    prompt_tokens: int
    sampling: Sampling
    prompt: str = prompts.VERSION

    def cache_key(self) -> dict[str, Any]:
        """What the text of a given prompt depends on."""
        names = ("engine", "model", "seed", "max_new_tokens")
        return {name: asdict(self)[name] for name in (*names, "sampling")}


@dataclass(frozen=True, slots=True)
class Asked:
    """A row and the prompt it was put in; the answer begins with `opening`."""

    context: Context
    prompt: str
    opening: str
    hash: str


def generate(
    ws: Workspace,
    *,
    engine: str,
    model: str = "recgen",
    limit: int | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    prompt_tokens: int = PROMPT_TOKENS,
    recipe: str = "strict",
    seed: int = 0,
    sampling: Sampling | None = None,
) -> Result:
    """Fill cot/texts.

    Args:
        engine: one of `engines.NAMES`.
        model: "recgen" (the fine-tuned one of this recipe and seed), "base", or any name `llm fetch` knows.
        prompt_tokens: longest prompt; a longer one loses its oldest history, see `budget.fit`.
        limit: M, the number of rows; None is a tenth of the training rows. A larger M keeps the rows of a smaller.

    Raises:
        UsageError: for an unknown engine, recipe or model, or a number out of range.
        LlmcfError: if an input is missing or the engine dies; finished texts are kept for the next run.
    """
    _check(engine, recipe, limit, max_new_tokens)
    name, path = resolve_model(ws, model, recipe=recipe, seed=seed)
    config = GenerateConfig(
        engine=engine,
        model=models.model_hash(path),
        recipe=recipe,
        seed=seed,
        limit=limit,
        max_new_tokens=max_new_tokens,
        prompt_tokens=prompt_tokens,
        sampling=sampling or Sampling(),
    )
    step = steps.Step(
        folder=ws.path("cot", "texts"),
        config=config,
        inputs=[ws.path("data"), ws.path("training")],
        code=tuple(f"llm/{part}" if part == "engines" else f"llm/{part}.py" for part in _CODE),
    )
    tables.training_rows(ws)  # names the verb that makes them, where they are missing
    done = steps.run(step, lambda folder: _work(ws, config, name, path, folder))
    return Result(
        verb="cot generate",
        workspace=ws,
        recipe=recipe,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )


def estimate_generate(
    ws: Workspace, *, engine: str, limit: int | None = None, max_new_tokens: int = MAX_NEW_TOKENS
) -> Estimate:
    """What `generate` would take on two cores with the carried model and an empty cache."""
    _check(engine, "strict", limit, max_new_tokens)
    count = _count(training_split(ws).num_rows, limit)
    tokens = count * max_new_tokens * _MEAN_SHARE
    return Estimate(
        seconds=_STARTS[engine] + tokens / _RATES[engine],
        memory_mib=7000 if engine == "vllm" else 5000,
        disk_mib=140 + count * 2e-3,
        basis=f"{count:,} texts of about {max_new_tokens * _MEAN_SHARE:.0f} tokens at {_RATES[engine]} a second "
        f"({engine}, 135M parameters), {_STARTS[engine]} s to convert or start; cached texts cost nothing",
    )


def resolve_model(ws: Workspace, model: str, *, recipe: str, seed: int) -> tuple[str, Path]:
    """The name and folder of the model that writes.

    Raises:
        UsageError, LlmcfError: if it is unknown, not fetched or not trained.
    """
    if model == "base":
        return models.LLM, models.llm_path(models.LLM)
    if model != "recgen":
        return model, models.llm_path(model)
    folder = ws.path("recgen", f"{recipe}-s{seed}")
    steps.require(folder, tables.remedy(ws, f"recgen train --recipe {recipe} --seed {seed}"))
    return f"recgen-{recipe}-s{seed}", folder


def sample(rows: pa.Table, limit: int | None, seed: int) -> pa.Table:
    """A uniform sample, blind to labels, ordered by row. A larger one of the same seed contains the smaller."""
    order = list(range(rows.num_rows))
    random.Random(seed).shuffle(order)  # noqa: S311 -- sampling, not secrets
    return rows.take(sorted(order[: _count(rows.num_rows, limit)]))


def _count(rows: int, limit: int | None) -> int:
    return min(rows, max(1, rows // _SHARE) if limit is None else limit)


def _check(engine: str, recipe: str, limit: int | None, max_new_tokens: int) -> None:
    check_choice("engine", engine, engines.NAMES)
    check_choice("recipe", recipe, RECIPES)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least one text must be asked for")
    if not 1 <= max_new_tokens <= _LONGEST:
        raise UsageError(f"--max-new-tokens {max_new_tokens} is not between 1 and {_LONGEST}")


def _work(ws: Workspace, config: GenerateConfig, name: str, model: Path, folder: Path) -> dict[str, Any]:
    asked = _ask(ws, config, model)
    cache = TextCache(config.cache_key())
    made = _complete(config, model, asked, cache)
    table = _table(asked, cache, config, name)
    storage.write_table(folder / "texts.parquet", table, schemas.COT_TEXTS)
    kept = table["text"].to_pylist()
    return {
        "model": name,
        "model_hash": config.model,
        "engine": config.engine,
        "prompt": config.prompt,
        "sampling": asdict(config.sampling),
        "date": datetime.now(UTC).date().isoformat(),
        "texts": len(asked),
        "distinct": len(set(kept)),
        "mean_characters": round(sum(map(len, kept)) / len(kept), 1),
        "stopped_by_itself": round(table["finish"].to_pylist().count("stop") / len(kept), 3),
        **made,
    }


def _ask(ws: Workspace, config: GenerateConfig, model: Path) -> list[Asked]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    words = prompts.domain(ws.dataset)

    def ask(context: Context) -> tuple[str, str]:
        cot = prompts.cot_prompt(context, words, state_label=config.recipe == "paper")
        return prompts.render(cot.messages, tokenizer, cot.opening), cot.opening

    drawn = contexts(ws, sample(training_split(ws), config.limit, config.seed))
    fitted = budget.fit(drawn, lambda c: ask(c)[0], tokenizer, newest=prompts.COT_HISTORY, tokens=config.prompt_tokens)
    asked = [(context, *ask(context)) for context in fitted]
    return [Asked(context, prompt, opening, prompt_hash(prompt)) for context, prompt, opening in asked]


def _complete(config: GenerateConfig, model: Path, asked: Sequence[Asked], cache: TextCache) -> dict[str, Any]:
    """Generate what the cache lacks; what came of it for the summary."""
    missing = list({one.hash: one.prompt for one in asked if cache.get(one.hash) is None}.items())
    reused = len({one.hash for one in asked}) - len(missing)
    if not missing:
        return {"fresh": 0, "reused": reused}
    say(f"cot generate: {len(missing):,} texts to write with {config.engine}, {reused:,} already there")
    start = time.monotonic()
    with engines.open_engine(config.engine, model, config.sampling) as engine:
        ready, tokens = time.monotonic(), 0
        answers = engine.generate(
            [prompt for _, prompt in missing], max_new_tokens=config.max_new_tokens, seed=config.seed
        )
        for made in track(answers, total=len(missing), what="texts"):
            key = missing[made.index][0]
            cache.add(Entry(prompt_hash=key, text=made.text, tokens=made.tokens, finish=made.finish))
            tokens += made.tokens
        seconds = time.monotonic() - ready
    return {
        "fresh": len(missing),
        "reused": reused,
        "new_tokens": tokens,
        "start_seconds": round(ready - start, 1),
        "tokens_per_second": round(tokens / seconds, 1),
    }


def _table(asked: Sequence[Asked], cache: TextCache, config: GenerateConfig, name: str) -> pa.Table:
    rows = []
    for one in asked:
        entry = cache.get(one.hash)
        assert entry, "every prompt has its text by now"
        rows.append(
            {
                "row": one.context.row,
                "prompt_hash": one.hash,
                "text": quality.finish(one.opening, entry.text, strip_decision=config.recipe != "paper"),
                "tokens": entry.tokens,
                "finish": entry.finish,
                "model": f"{name}@{config.model[:12]}",
                "engine": config.engine,
            }
        )
    return pa.Table.from_pylist(rows, schema=schemas.COT_TEXTS)
