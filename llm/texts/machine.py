"""Writes the texts of a job and puts its table together, the same for every verb.

Any number of workers may run a verb for one workspace: they share the queue of texts to write, and the first to find
it empty puts the table together. Those that have a part each write it and no table, which a run without a part then
puts together; whatever a part has left, that run writes.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from core import steps, storage
from core.errors import LlmcfError
from core.result import Result
from core.settings import Workspace
from llm import models, pins, quality
from llm.texts.cache import Entry, TextCache
from llm.texts.job import Question, TextJob
from llm.texts.queue import Part
from llm.texts.recipes import Budget
from llm.texts.worklog import Account, Job
from llm.texts.writing import Task, fill


class Texts(Protocol):
    """Where finished texts are looked up."""

    def get(self, prompt_hash: str) -> Entry | None: ...


def generate(
    ws: Workspace, job: TextJob, limits: Budget | None = None, part: Part | None = None, *, ray: bool = False
) -> Result:
    """Fill the job's folder, or write a part of its texts.

    Args:
        limits: where to stop early; the table then holds what has its text.
        part: the texts to write, and no table.
        ray: let a Ray cluster run the engine.

    Raises:
        UsageError: for an unknown model, or a pinned one that knows later days than the workspace, where there is no
            current table by an earlier one.
        LlmcfError: if an input is missing or the engine dies; finished texts are kept for the next run.
    """
    limits = limits or Budget()
    try:
        name, path = models.find_model(ws, job.config.model, seed=job.config.seed)
    except pins.KnowsLater:
        if made := _written(job, limits):
            return result(ws, job, job.verb, made)
        raise
    key = models.model_hash(path)
    cache = TextCache(job.config.manner.cache_key(key))
    machine = TextMachine(job, cache, author=author(name, key), model=path, ray=ray)
    step = _step(job, key, limits)
    if part:
        return _part(ws, job, machine, cache, limits, part, skipped=step.current() is not None)
    done = steps.run(step, machine.assemble, together=lambda: machine.write(cache, limits))
    return result(ws, job, job.verb, done)


def _step(job: TextJob, key: str, limits: Budget) -> steps.Step:
    """The step that makes the table by the model of that hash."""
    return job.step({**asdict(job.config), "model": key, "prompt": job.wording, "limits": asdict(limits)})


def _written(job: TextJob, limits: Budget) -> steps.Outcome | None:
    """The table by whichever model has written it, if that is all that would be another now."""
    before = steps.Step(folder=job.folder, config=None).stamp() or {}
    config = before.get("config")
    step = _step(job, config["model"], limits) if isinstance(config, dict) and "model" in config else None
    made = step.current() if step else None
    return steps.Outcome(job.folder, True, made["seconds"], made["summary"]) if made else None


def _part(
    ws: Workspace, job: TextJob, machine: "TextMachine", cache: TextCache, limits: Budget, part: Part, *, skipped: bool
) -> Result:
    """Write a part; nothing where the table is up to date."""
    start = time.monotonic()
    if not skipped:
        machine.write(cache, limits, part)
    account = machine.account
    left = [] if skipped else [name for name in machine.names if part.has(name) and cache.get(name) is None]
    return Result(
        verb=job.verb,
        workspace=ws,
        recipe=job.recipe,
        seed=job.config.seed,
        skipped=skipped,
        seconds=time.monotonic() - start,
        artifacts={"cache": str(cache.folder)},
        details={
            "part": str(part),
            "fresh": account.texts,
            "unwritten": len(left),
            "new_tokens": account.tokens,
            "next": f"llmcf {job.verb} --shard off, when all parts are done: it puts the table together",
        },
    )


def result(ws: Workspace, job: TextJob, verb: str, done: steps.Outcome) -> Result:
    return Result(
        verb=verb,
        workspace=ws,
        recipe=job.recipe,
        seed=job.config.seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )


def author(name: str, model_hash: str) -> str:
    """How texts name the model that wrote them."""
    return f"{name}@{model_hash[:12]}"


class TextMachine:
    """The two halves of a job: writing, which workers share, and the table, which one of them puts together.

    Questions are put when the first half that needs them runs, and not at all for a table that is up to date.
    """

    def __init__(self, job: TextJob, texts: Texts, *, author: str, model: Path, ray: bool = False) -> None:
        self.job, self.author, self.model, self.texts, self.ray = job, author, model, texts, ray
        self.account = Account()

    @cached_property
    def asked(self) -> list[Question]:
        return self.job.ask(self.model)

    @property
    def names(self) -> list[str]:
        """Of all texts that are asked for."""
        return [name for one in self.asked for name in one.names]

    def write(self, cache: TextCache, limits: Budget, part: Part | None = None) -> None:
        """Generate what the cache lacks, beside any other worker, or a part of it."""
        manner = self.job.config.manner
        tasks = {
            name: Task(name=name, prompt=one.prompt, openings=one.openings, manner=manner)
            for one in self.asked
            for name in one.names
        }
        job = Job(folder=self.job.folder, names=list(dict.fromkeys(self.names)))  # equal prompts have one text
        self.account = fill(cache, tasks, limits, manner=manner, model=self.model, part=part, job=job, ray=self.ray)

    def assemble(self, folder: Path) -> dict[str, Any]:
        """The table of the usable texts, and what there is to say about it.

        Raises:
            LlmcfError: if there is not one.
        """
        made: list[dict[str, Any]] = []
        dropped: Counter[str] = Counter()
        for one in self.asked:
            found = [self._row(one, entry) for name in one.names if (entry := self.texts.get(name))]
            usable = [row for row in found if row["text"].strip() and set(quality.FAULTY).isdisjoint(row["flags"])]
            dropped.update({"unwritten": not found, "faulty": bool(found) and not usable})
            made += usable
        if not made:
            raise LlmcfError("not one usable text was written; allow a larger budget, another style or another model")
        table = self.job.choose(pa.Table.from_pylist(made, schema=self.job.schema), self.asked)
        storage.write_table(folder / "texts.parquet", table, self.job.schema)
        return self._summary(table, {name: number for name, number in dropped.items() if number})

    def _row(self, one: Question, entry: Entry) -> dict[str, Any]:
        """A text with all that a schema may ask of it."""
        return {
            **one.row,
            "prompt_hash": entry.prompt_hash,
            "text": quality.finish(one.openings, entry.parts, strip_decision=self.job.strip_decision),
            "tokens": entry.tokens,
            "finish": "length" if "length" in entry.finish else "stop",
            "flags": quality.flags(one.openings, entry.parts, entry.finish),
            "model": self.author,
            "engine": self.job.config.manner.engine,
        }

    def _summary(self, table: pa.Table, dropped: Mapping[str, int]) -> dict[str, Any]:
        kept, account = table["text"].to_pylist(), self.account
        pace = account.tokens / account.seconds if account.seconds else 0.0
        return {
            "model": self.author,
            "model_option": self.job.config.model,
            "engine": self.job.config.manner.engine,
            "prompt": self.job.wording,
            "sampling": asdict(self.job.config.manner.sampling),
            "date": datetime.now(UTC).date().isoformat(),
            "texts": len(kept),
            "dropped": dict(dropped),
            "distinct": len(set(kept)),
            "mean_characters": round(sum(map(len, kept)) / len(kept), 1),
            **self.job.summarise(table),
            "fresh": account.texts,
            "reused": sum(len(one.names) for one in self.asked) - account.texts - dropped.get("unwritten", 0),
            "asked_again": account.again,
            "new_tokens": account.tokens,
            "seconds_writing": round(account.seconds, 1),
            "tokens_per_second": round(pace, 1),
        }
