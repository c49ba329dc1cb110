"""The main job: every verb in turn, each in a process of its own, then a report.

A verb whose inputs have not changed answers at once, so the demo can be killed anywhere and run again.
"""

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import settings, storage
from core.errors import LlmcfError
from core.progress import say
from core.result import Result
from core.settings import Workspace

USERS = 3
FRESH_TEXTS = 1000


@dataclass(frozen=True, slots=True)
class Verb:
    """One step of the pipeline: the verb's words and its own options."""

    words: str
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return " ".join([self.words, *(o for o in self.options if o in {"none", "llm-cf"})])


PIPELINE = (
    Verb("data prepare"),
    Verb("data report"),
    Verb("features build"),
    Verb("features apply"),
    Verb("features join"),
    Verb("features materialize"),
    Verb("llm fetch"),
    Verb("recgen train"),
    Verb("cot generate", ("--limit", str(FRESH_TEXTS))),
    Verb("cot embed"),
    Verb("cot index"),
    Verb("rank train", ("--framework", "none")),
    Verb("rank train", ("--framework", "llm-cf")),
    Verb("retrieve train", ("--framework", "none")),
    Verb("retrieve train", ("--framework", "llm-cf")),
    Verb("audit leaks"),
    Verb("export"),
    Verb("serve", ("--check",)),
    Verb("dag test"),
)
SEEDED = {"data prepare", "recgen train", "cot generate", "rank train", "retrieve train", "export", "dag test"}


def demo(ws: Workspace, *, source: Path | None, seed: int) -> Result:
    """Run the pipeline, recommend for a few users, write `runs/<id>/report.md`.

    Raises:
        LlmcfError: if a verb fails; running the demo again goes on from there.
    """
    from llmcf.reports import demo as page

    start = time.monotonic()
    run = settings.runs() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{ws.dataset}"
    results = []
    for number, verb in enumerate(PIPELINE, start=1):
        results.append(_timed(f"[{number:2}/{len(PIPELINE) + 2}]", verb.title, _arguments(verb, ws, source, seed)))
    users = _sample_users(ws)
    examples = _example_search(ws, users[0])
    results.append(_timed(f"[{len(PIPELINE) + 1}/{len(PIPELINE) + 2}]", "cot search", examples))
    who = [word for user in users for word in ("--user", user)]
    arguments = ["recommend", *who, "--k", "10", *_place(ws)]
    results.append(_timed(f"[{len(PIPELINE) + 2}/{len(PIPELINE) + 2}]", "recommend", arguments))
    storage.write_json(run / "results.json", results)
    written = page.write(ws, run, results, seconds=time.monotonic() - start)
    return Result(
        verb="demo",
        workspace=ws,
        seed=seed,
        seconds=time.monotonic() - start,
        artifacts={"report": str(written)},
        metrics=page.framework_metrics(results),
        details={"text": page.summary(results, written)},
    )


def _place(ws: Workspace) -> list[str]:
    return ["--dataset", ws.dataset, "--order", ws.order, "--as-of", ws.as_of]


def _arguments(verb: Verb, ws: Workspace, source: Path | None, seed: int) -> list[str]:
    words = [*verb.words.split(), *verb.options]
    if verb.words != "llm fetch":
        words += _place(ws)
    if verb.words in SEEDED:
        words += ["--seed", str(seed)]
    if verb.words == "data prepare" and source:
        words += ["--source", str(source)]
    return words


def _timed(count: str, title: str, arguments: list[str]) -> dict[str, Any]:
    """Run one verb, say how long it took and return its JSON object."""
    start = time.monotonic()
    command = [sys.executable, "-m", "llmcf", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise LlmcfError(f"`llmcf {shlex.join(arguments)}` failed; mend what it says above and run the demo again")
    result = json.loads(done.stdout)
    say(f"{count} {title:<24} {seconds:7.1f} s{'  (up to date)' if result['skipped'] else ''}")
    return {**result, "title": title, "wall_seconds": round(seconds, 1), "command": f"llmcf {shlex.join(arguments)}"}


def _sample_users(ws: Workspace) -> list[str]:
    """The raw ids of a few users who took something, evenly spaced, so that old and new ones are among them."""
    from core.contracts import FIRST_ID
    from core.data import tables

    active = tables.interactions(ws)["user"].unique().to_numpy()
    chosen = active[[len(active) * number // USERS for number in range(USERS)]]
    return list(dict.fromkeys(tables.users(ws)["raw_id"].take(chosen - FIRST_ID).to_pylist()))


def _example_search(ws: Workspace, user: str) -> list[str]:
    from core.contracts import FIRST_ID
    from core.data import tables

    item = tables.items(ws)["raw_id"][int(tables.offered(ws)[0]) - FIRST_ID].as_py()
    return ["cot", "search", "--user", user, "--item", item, *_place(ws)]
