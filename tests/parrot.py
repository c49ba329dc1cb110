"""An engine that tests can foresee and kill, and `cot generate` over a small world with it."""

import random
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from core import schemas, storage
from core.errors import LlmcfError
from core.result import Result
from core.settings import Workspace
from llm import engines
from llm.cot import generate as stage
from llm.cot.recipes import GenerateConfig
from llm.engines import Generation, Request
from llm.texts.queue import Part
from llm.texts.recipes import Budget

_WORDS = """ambient basic candid dainty eager fancy gentle hollow icy jolly keen lively mellow noble olive plain quiet
robust simple tender urban vivid warm yellow zesty"""
WORDS = _WORDS.split()


class Parrot:
    """Says a sentence of its own about every prompt, newest first, and dies after `lives` parts."""

    name = "openvino"
    window = 8

    def __init__(self, lives: int = 1_000_000, say: str | None = None) -> None:
        self.lives, self.say = lives, say
        self.waiting: list[Request] = []
        self.asked: list[Request] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, request: Request) -> None:
        self.waiting.append(request)

    def poll(self) -> Generation:
        if self.lives == 0:
            raise LlmcfError("the engine died")
        self.lives -= 1
        request = self.waiting.pop()
        self.asked.append(request)
        some = random.Random(request.prompt).sample(WORDS, 4)
        text = self.say or f" with {' '.join(some)} words about it. "
        return Generation(number=request.number, text=text, tokens=3, finish="stop")

    @property
    def begun(self) -> list[str]:
        """The prompts of first parts."""
        return [one.prompt for one in self.asked if one.prompt.endswith(("cares about", "looks for"))]

    def speaks(self, patch: pytest.MonkeyPatch) -> None:
        """Every engine is this one, as long as the patch lasts."""
        patch.setattr(engines, "open_engine", lambda name, path, sampling: self)


def config(name: Path | str, **changes: Any) -> GenerateConfig:
    """A small run of a model, by its name or folder; `changes` are fields."""
    return GenerateConfig(**{"engine": "openvino", "model": str(name), "limit": 20, "seed": 1, **changes})


def run(
    ws: Workspace,
    name: Path | str,
    parrot: Parrot,
    limits: Budget | None = None,
    part: Part | None = None,
    **changes: Any,
) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        parrot.speaks(patch)
        return stage.generate(ws, config(name, **changes), limits, part)


def texts(ws: Workspace) -> list[dict[str, Any]]:
    table = storage.read_table(ws.path("cot", "texts", "texts.parquet"), schemas.COT_TEXTS, "llmcf cot generate")
    return table.to_pylist()
