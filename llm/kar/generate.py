"""`llmcf kar generate`: what the model says about users and items, for the framework KAR (arXiv:2306.10933, METHOD 8).

An item's text is written from its own facts, which are the same on every day. A user's text is written from the user's
first `prefix` interactions, so under the leak rule a row may see it from position `prefix` on, and no earlier row does.
Users and items are drawn uniformly, blind to popularity: who has a text tells nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core import schemas, steps, storage
from core.data import sampling, tables
from core.errors import LlmcfError, UsageError, check_choice
from core.result import Result
from core.settings import Workspace
from llm import budget, engines, models, prompts, quality
from llm.contexts import Context, items_in_words, profiles
from llm.cot.text_cache import Entry, TextCache, prompt_hash
from llm.cot.writing import Account, Budget, Task, fill
from llm.engines import Sampling
from llm.kar import wording
from llm.recgen import train

ATTEMPTS = 2
_PART_TOKENS = 28
_PROMPT_TOKENS = 512
_SHARED = ("budget", "contexts", "prompts", "quality")
_OWN = ("kar/generate", "kar/wording", "cot/wording", "cot/writing")
CODE = ("llm/engines", *(f"llm/{n}.py" for n in _SHARED), *(f"llm/{n}.py" for n in _OWN))


@dataclass(frozen=True, slots=True, kw_only=True)
class KarConfig:
    """Everything the texts depend on besides the data.

    Args:
        users, items: how many get a text; None for all. A larger number keeps those of a smaller.
        prefix: first interactions of a user that the text is written from; users with fewer get none.
    """

    engine: str
    model: str = "base"
    seed: int = 0
    users: int | None = None
    items: int | None = None
    prefix: int = 3
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, engines.NAMES)
        for option, value in (("--users", self.users), ("--items", self.items), ("--prefix", self.prefix)):
            if value is not None and value < 1:
                raise UsageError(f"{option} {value} is less than 1")

    def cache_key(self, model_hash: str) -> dict[str, Any]:
        """What the text of a given prompt depends on."""
        how = {"engine": self.engine, "seed": self.seed, "attempts": ATTEMPTS, "sampling": asdict(self.sampling)}
        return how | {"model": model_hash, "part_tokens": _PART_TOKENS, "sentence": True}


@dataclass(frozen=True, slots=True)
class Subject:
    """A user or an item, and how it is asked about; `prefix` interactions of a user are in the prompt."""

    kind: str
    id: int
    prefix: int
    prompt: str
    openings: tuple[str, ...]
    name: str


def generate(ws: Workspace, config: KarConfig, limits: Budget | None = None) -> Result:
    """Fill kar/texts; any number of workers may run it at once.

    Raises:
        LlmcfError: if an input is missing or the engine dies; finished texts are kept for the next run.
    """
    name, path = train.find_model(ws, config.model, seed=config.seed)
    key, limits = models.model_hash(path), limits or Budget()
    cache, asked, account = TextCache(config.cache_key(key)), ask(ws, config, path), Account()

    def write() -> None:
        nonlocal account
        tasks = {one.name: _task(one, config) for one in asked}
        how = {"engine": config.engine, "model": path, "sampling": config.sampling}
        account = fill(cache, tasks, limits, **how)

    def work(folder: Path) -> dict[str, Any]:
        author = f"{name}@{key[:12]}"
        summary = assemble(folder, asked, {one.name: cache.get(one.name) for one in asked}, config, author)
        pace = account.tokens / account.seconds if account.seconds else 0.0
        return summary | {"fresh": account.texts, "tokens_per_second": round(pace, 1)}

    inputs = {**asdict(config), "model": key, "prompt": wording.VERSION, "limits": asdict(limits)}
    done = steps.run(step(ws, inputs), work, together=write)
    return Result(
        verb="kar generate",
        workspace=ws,
        seed=config.seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )


def ask(ws: Workspace, config: KarConfig, model: Path) -> list[Subject]:
    """The drawn users and items, users first, and what the model is asked about each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    words = prompts.domain(ws.dataset)
    found = []
    for kind, drawn in (("user", _users(ws, config)), ("item", _items(ws, config))):

        def put(context: Context, kind: str = kind) -> tuple[str, tuple[str, ...]]:
            made = wording.KINDS[kind](context, words)
            return prompts.render(made.messages, tokenizer), made.openings

        fitted = budget.fit(
            list(drawn.values()),
            lambda context: "".join(map("".join, put(context))),
            tokenizer,
            newest=config.prefix,
            tokens=_PROMPT_TOKENS,
        )
        prefix = config.prefix if kind == "user" else 0
        for number, context in zip(drawn, fitted, strict=True):
            prompt, openings = put(context)
            found.append(Subject(kind, number, prefix, prompt, openings, prompt_hash(prompt, openings)))
    return found


def assemble(
    folder: Path, asked: Sequence[Subject], found: dict[str, Entry | None], config: KarConfig, author: str
) -> dict[str, Any]:
    """The table of the usable texts, and what there is to say about it.

    Raises:
        LlmcfError: if there is not one.
    """
    made: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for one in asked:
        entry = found[one.name]
        flags = quality.flags(one.openings, entry.parts, entry.finish) if entry else []
        faulty = not set(flags).isdisjoint(quality.FAULTY)
        dropped.update({"unwritten": entry is None, "faulty": faulty})
        if entry and not faulty:
            made.append(_row(one, entry, author, config.engine))
    if not made:
        raise LlmcfError("not one usable text was written; allow a larger budget or another model")
    table = pa.Table.from_pylist(made, schema=schemas.KAR_TEXTS)
    storage.write_table(folder / "texts.parquet", table, schemas.KAR_TEXTS)
    kinds, texts = Counter(table["kind"].to_pylist()), table["text"].to_pylist()
    return {
        "model": author,
        "engine": config.engine,
        "prompt": wording.VERSION,
        "date": datetime.now(UTC).date().isoformat(),
        "users": kinds["user"],
        "items": kinds["item"],
        "prefix": config.prefix,
        "dropped": {name: number for name, number in dropped.items() if number},
        "distinct": len(set(texts)),
        "mean_characters": round(sum(map(len, texts)) / len(texts), 1),
    }


def step(ws: Workspace, inputs: dict[str, Any]) -> steps.Step:
    """The step that fills kar/texts, out of `inputs` beside the data."""
    return steps.Step(folder=ws.path("kar", "texts"), config=inputs, inputs=[ws.path("data")], code=CODE)


def _users(ws: Workspace, config: KarConfig) -> dict[int, Context]:
    """The first interactions of each drawn user in words."""
    items, known = items_in_words(ws), profiles(ws)
    early = tables.interactions(ws).filter(pc.field("position") < config.prefix)
    histories: dict[int, list[int]] = {}
    for user, item in zip(early["user"].to_pylist(), early["item"].to_pylist(), strict=True):
        histories.setdefault(user, []).append(item)
    whole = np.array([user for user, history in histories.items() if len(history) == config.prefix])
    return {
        user: Context(
            row=-1,
            profile=known.get(user, ""),
            history=tuple(items[item] for item in histories[user]),
            target=wording.NOBODY,
            label=0,
        )
        for user in _drawn(whole, config.users, config.seed, "kar users")
    }


def _items(ws: Workspace, config: KarConfig) -> dict[int, Context]:
    items = items_in_words(ws)
    return {
        item: Context(row=-1, profile="", history=(), target=items[item], label=0)
        for item in _drawn(tables.offered(ws), config.items, config.seed, "kar items")
    }


def _drawn(ids: np.ndarray, count: int | None, seed: int, purpose: str) -> list[int]:
    none = np.zeros(len(ids), dtype=np.int64)
    rows = pa.table({"user": ids.astype(np.int64), "position": none, "item": none, "label": none})
    return sampling.draw(rows, count, seed=seed, purpose=purpose)["user"].to_pylist()


def _task(one: Subject, config: KarConfig) -> Task:
    return Task(
        name=one.name,
        prompt=one.prompt,
        openings=one.openings,
        part_tokens=_PART_TOKENS,
        sentence=True,
        seed=config.seed,
        attempts=ATTEMPTS,
    )


def _row(one: Subject, entry: Entry, author: str, engine: str) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "id": one.id,
        "prefix": one.prefix,
        "text": quality.finish(one.openings, entry.parts, strip_decision=False),
        "tokens": entry.tokens,
        "model": author,
        "engine": engine,
    }
