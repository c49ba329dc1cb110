"""`llmcf cot generate`: a chain of thought for a sample of the training rows (METHOD 5).

Any number of workers may run the verb for one workspace: they share the queue of texts to write, and the first to find
it empty puts the table together.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from core import schemas, steps, storage
from core.contracts import RECIPES
from core.data import tables
from core.errors import LlmcfError, UsageError, check_choice
from core.result import Estimate, Result
from core.settings import Workspace
from llm import budget, engines, models, prompts, quality
from llm.contexts import Context, contexts, training_split
from llm.cot import wording
from llm.cot.selection import SELECTIONS, choose
from llm.cot.text_cache import Entry, TextCache, prompt_hash
from llm.cot.wording import STYLES
from llm.cot.writing import Account, Budget, Task, fill
from llm.engines import Sampling
from llm.recgen import train

PROMPT_TOKENS = 512
_SHARE = 10  # a chain of thought for one training row in ten, as in the paper
_RATES = {"openvino": 270, "vllm": 45, "transformers": 35, "server": 45}  # new tokens a second, 135M, 2 cores
_STARTS = {"openvino": 60, "vllm": 60, "transformers": 10, "server": 1}  # seconds; OpenVINO converts a model once
_MEAN_SHARE = 0.6  # of part_tokens, before the sentence ends
_SHARED = ("budget", "contexts", "prompts", "quality")
_OWN = ("generate", "selection", "wording", "writing")  # with what they share, all that decides about texts
CODE = ("llm/engines", *(f"llm/{n}.py" for n in _SHARED), *(f"llm/cot/{n}.py" for n in _OWN))


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig:
    """Everything the texts depend on besides the rows.

    Args:
        model: "recgen" or another method of `recgen train` (of this seed), "base", or any name `llm fetch` knows.
        limit: M, the number of rows; None is a tenth of the training rows. A larger M keeps the rows of a smaller.
        selection: how rows are chosen, one of `selection.SELECTIONS`.
        part_tokens: bound of the model's share of a part; None is the style's own.
        prompt_tokens: longest prompt; a longer one loses its oldest history, see `budget.fit`.
        candidates: texts written for a row, of which the best by the quality score is kept.
        attempts: how often a faulty text is asked for before its row is dropped.
    """

    engine: str
    model: str = "recgen"
    recipe: str = RECIPES[0]
    seed: int = 0
    limit: int | None = None
    selection: str = SELECTIONS[0]
    style: str = "guided"
    part_tokens: int | None = None
    prompt_tokens: int = PROMPT_TOKENS
    candidates: int = 1
    attempts: int = 2
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, engines.NAMES)
        check_choice("recipe", self.recipe, RECIPES)
        check_choice("selection", self.selection, SELECTIONS)
        check_choice("style", self.style, STYLES)
        bounds = {
            "--limit": (self.limit, 1, 10**9),
            "--part-tokens": (self.part_tokens, 1, 1024),
            "--candidates": (self.candidates, 1, 16),
            "--attempts": (self.attempts, 1, 16),
        }
        for option, (value, low, high) in bounds.items():
            if value is not None and not low <= value <= high:
                raise UsageError(f"{option} {value} is not between {low} and {high:,}")

    @property
    def tokens_a_part(self) -> int:
        return self.part_tokens or STYLES[self.style].part_tokens

    def cache_key(self, model_hash: str) -> dict[str, Any]:
        """What the text of a given prompt depends on."""
        how = {"engine": self.engine, "seed": self.seed, "attempts": self.attempts, "sampling": asdict(self.sampling)}
        return how | {"model": model_hash, "part_tokens": self.tokens_a_part, "sentence": STYLES[self.style].sentence}


@dataclass(frozen=True, slots=True)
class Asked:
    """A row and the prompt it was put in; `names` are those of its candidates."""

    context: Context
    prompt: str
    openings: tuple[str, ...]
    names: tuple[str, ...]


class Texts(Protocol):
    """Where finished texts are looked up."""

    def get(self, prompt_hash: str) -> Entry | None: ...


class Job:
    """The two halves of the verb: writing, which workers share, and the table, which one of them puts together."""

    def __init__(
        self, ws: Workspace, config: GenerateConfig, limits: Budget, author: str, model: Path, cache: Texts
    ) -> None:
        self.ws, self.config, self.limits, self.author, self.model = ws, config, limits, author, model
        self.cache, self.account = cache, Account()
        self._asked: list[Asked] | None = None

    @property
    def asked(self) -> list[Asked]:
        if self._asked is None:
            self._asked = ask(self.ws, self.config, self.model)
        return self._asked

    def write(self) -> None:
        """Generate what the cache lacks, beside any other worker."""
        assert isinstance(self.cache, TextCache)
        how = self.config
        self.account = fill(
            self.cache,
            _tasks(how, self.asked),
            self.limits,
            engine=how.engine,
            model=self.model,
            sampling=how.sampling,
        )

    def assemble(self, folder: Path) -> dict[str, Any]:
        """The table of the best usable text of each row, and what there is to say about it."""
        made: list[dict[str, Any]] = []
        dropped: Counter[str] = Counter()
        for one in self.asked:
            found = [entry for name in one.names if (entry := self.cache.get(name))]
            usable = [entry for entry in found if not _faults(one, entry)]
            dropped.update({"unwritten": not found, "faulty": bool(found) and not usable})
            made += [_row(one, entry, self.config, self.author) for entry in usable]
        if not made:
            raise LlmcfError("not one usable text was written; allow a larger budget, another style or another model")
        table = pa.Table.from_pylist(made, schema=schemas.COT_TEXTS)
        if self.config.candidates > 1:
            from llm.cot import judge

            table = judge.best(table, {one.context.row: one.context for one in self.asked})
        storage.write_table(folder / "texts.parquet", table, schemas.COT_TEXTS)
        return self._summary(table, {name: number for name, number in dropped.items() if number})

    def _summary(self, table: pa.Table, dropped: dict[str, int]) -> dict[str, Any]:
        flagged = Counter(flag for flags in table["flags"].to_pylist() for flag in flags)
        kept = table["text"].to_pylist()
        account, texts = self.account, sum(len(one.names) for one in self.asked)
        pace = account.tokens / account.seconds if account.seconds else 0.0
        return {
            "model": self.author,
            "engine": self.config.engine,
            "style": self.config.style,
            "prompt": wording.VERSION,
            "sampling": asdict(self.config.sampling),
            "date": datetime.now(UTC).date().isoformat(),
            "texts": len(kept),
            "dropped": dropped,
            "distinct": len(set(kept)),
            "mean_characters": round(sum(map(len, kept)) / len(kept), 1),
            "stopped_by_itself": round(table["finish"].to_pylist().count("stop") / len(kept), 3),
            "flags": {name: round(flagged[name] / len(kept), 4) for name in quality.FLAGS},
            "fresh": account.texts,
            "reused": texts - account.texts - dropped.get("unwritten", 0),
            "asked_again": account.again,
            "new_tokens": account.tokens,
            "seconds_writing": round(account.seconds, 1),
            "tokens_per_second": round(pace, 1),
        }


def generate(ws: Workspace, config: GenerateConfig, limits: Budget | None = None) -> Result:
    """Fill cot/texts.

    Args:
        limits: where to stop early; the table then holds the rows that have their text.

    Raises:
        UsageError: for an unknown model.
        LlmcfError: if an input is missing or the engine dies; finished texts are kept for the next run.
    """
    name, path = train.find_model(ws, config.model, seed=config.seed)
    tables.training_rows(ws)  # names the verb that makes them, where they are missing
    key = models.model_hash(path)
    step = steps.Step(
        folder=ws.path("cot", "texts"),
        config={**asdict(config), "model": key, "prompt": wording.VERSION, "limits": asdict(limits or Budget())},
        inputs=[ws.path("data"), ws.path("training")],
        code=CODE,
    )
    job = Job(ws, config, limits or Budget(), f"{name}@{key[:12]}", path, TextCache(config.cache_key(key)))
    done = steps.run(step, job.assemble, together=job.write)
    return Result(
        verb="cot generate",
        workspace=ws,
        recipe=config.recipe,
        seed=config.seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )


def estimate_generate(ws: Workspace, config: GenerateConfig) -> Estimate:
    """What `generate` would take on two cores with the carried model and an empty cache."""
    available = training_split(ws).num_rows
    count = min(available, config.limit or max(1, available // _SHARE)) * config.candidates
    tokens = count * config.tokens_a_part * _MEAN_SHARE * (4 if config.style == "guided" else 1)
    engine = config.engine
    return Estimate(
        seconds=_STARTS[engine] + tokens / _RATES[engine],
        memory_mib=7000 if engine == "vllm" else 5000,
        disk_mib=140 + count * 2e-3,
        basis=f"{count:,} texts of about {tokens / count:.0f} tokens at {_RATES[engine]} a second "
        f"({engine}, 135M parameters), {_STARTS[engine]} s to convert or start; cached texts cost nothing",
    )


def ask(ws: Workspace, config: GenerateConfig, model: Path) -> list[Asked]:
    """The chosen rows and what the model is asked about each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    words = prompts.domain(ws.dataset)

    def put(context: Context) -> tuple[str, tuple[str, ...]]:
        cot = wording.cot_prompt(context, words, style=config.style, state_label=config.recipe == "paper")
        return prompts.render(cot.messages, tokenizer), cot.openings

    split = training_split(ws)
    if not split.num_rows:
        raise LlmcfError(f"{ws.dataset} has no training rows under the order {ws.order}, as of {ws.as_of}")
    count = max(1, split.num_rows // _SHARE) if config.limit is None else config.limit
    drawn = contexts(ws, choose(ws, split, count, selection=config.selection, seed=config.seed))
    fitted = budget.fit(
        drawn,
        lambda context: "".join(map("".join, put(context))),
        tokenizer,
        newest=wording.HISTORY,
        tokens=config.prompt_tokens,
    )
    asked = []
    for context in fitted:
        prompt, openings = put(context)
        names = tuple(prompt_hash(prompt, openings, candidate) for candidate in range(config.candidates))
        asked.append(Asked(context, prompt, openings, names))
    return asked


def _tasks(config: GenerateConfig, asked: Sequence[Asked]) -> dict[str, Task]:
    return {
        name: Task(
            name=name,
            prompt=one.prompt,
            openings=one.openings,
            part_tokens=config.tokens_a_part,
            sentence=STYLES[config.style].sentence,
            seed=config.seed,
            attempts=config.attempts,
        )
        for one in asked
        for name in one.names
    }


def _faults(one: Asked, entry: Entry) -> list[str]:
    return [flag for flag in quality.flags(one.openings, entry.parts, entry.finish) if flag in quality.FAULTY]


def _row(one: Asked, entry: Entry, config: GenerateConfig, author: str) -> dict[str, Any]:
    return {
        "row": one.context.row,
        "prompt_hash": entry.prompt_hash,
        "text": quality.finish(one.openings, entry.parts, strip_decision=config.recipe != "paper"),
        "tokens": entry.tokens,
        "finish": "length" if "length" in entry.finish else "stop",
        "flags": quality.flags(one.openings, entry.parts, entry.finish),
        "model": author,
        "engine": config.engine,
    }
