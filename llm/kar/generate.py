"""`llmcf kar generate`: what the model says about users and items, for the framework KAR (arXiv:2306.10933, METHOD 8).

An item's text is written from its own facts, which are the same on every day. A user's text is written from the user's
first `prefix` interactions, so under the leak rule a row may see it from position `prefix` on, and no earlier row does.
Users and items are drawn uniformly, blind to popularity: who has a text tells nothing.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core import schemas
from core.data import sampling, tables
from core.result import Result
from core.settings import Workspace
from llm import prompts
from llm.contexts import Context, items_in_words, profiles
from llm.kar import wording
from llm.kar.recipes import KarConfig
from llm.texts import job as shared
from llm.texts import machine
from llm.texts.job import Question, TextJob
from llm.texts.queue import Part
from llm.texts.recipes import PROMPT_TOKENS, Budget
from llm.texts.wording import TextPrompt

VERB = "kar generate"
CODE = (*shared.CODE, *(f"llm/kar/{name}.py" for name in ("generate", "recipes", "wording")))


def generate(
    ws: Workspace, config: KarConfig, limits: Budget | None = None, part: Part | None = None, *, ray: bool = False
) -> Result:
    """Fill kar/texts; see `machine.generate`."""
    return machine.generate(ws, job(ws, config), limits, part, ray=ray)


def job(ws: Workspace, config: KarConfig) -> TextJob:
    """The texts of users and items under `config`.

    Raises:
        LlmcfError: if the data is not prepared, naming the verb that does.
    """
    tables.items(ws)
    return TextJob(
        verb=VERB,
        config=config,
        wording=wording.VERSION,
        folder=ws.path("kar", "texts"),
        inputs=[ws.path("data")],
        code=CODE,
        schema=schemas.KAR_TEXTS,
        ask=lambda model: _ask(ws, config, model),
        summarise=lambda table: _summary(config, table),
        strip_decision=False,
    )


def _ask(ws: Workspace, config: KarConfig, model: Path) -> list[Question]:
    """Users first, then items."""
    return [
        *_about(ws, "user", _users(ws, config), model, prefix=config.prefix),
        *_about(ws, "item", _items(ws, config), model, prefix=0),
    ]


def _summary(config: KarConfig, table: pa.Table) -> dict[str, Any]:
    kinds = Counter(table["kind"].to_pylist())
    return {"users": kinds["user"], "items": kinds["item"], "prefix": config.prefix}


def _about(ws: Workspace, kind: str, drawn: dict[int, Context], model: Path, *, prefix: int) -> list[Question]:
    """What is asked about the drawn users or items; `prefix` interactions of a user are in the prompt."""
    words = prompts.domain(ws.dataset)

    def put(context: Context) -> TextPrompt:
        return wording.KINDS[kind](context, words)

    subjects = [({"kind": kind, "id": number, "prefix": prefix}, context) for number, context in drawn.items()]
    return shared.questions(subjects, put, model, newest=prefix, tokens=PROMPT_TOKENS)


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
