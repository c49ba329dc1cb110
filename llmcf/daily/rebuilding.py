"""A release that was removed, made anew: the verbs that its manifest names, each in a process of its own.

What its day still holds is taken as it is. What the manifest does not say is as where nothing is asked for: how many
negatives a row has, who writes the texts (the pinned model) and how many.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core import steps
from core.data.tables import remedy
from core.errors import LlmcfError
from core.progress import say
from core.settings import LATEST, Workspace
from llmcf.daily.choosing import Known, date_of, known_until
from llmcf.serving import gone, releases
from llmcf.serving.assemble import Choice
from llmcf.serving.manifest import Release, Stage

_BEFORE = {"kar embed": "kar generate", "recgen score": "recgen train"}
_SEEDED = {"data prepare", "cot generate", "kar generate", "recgen train", "recgen score"}
_ENCODING = {"cot embed", "cot embed --items-only", "kar embed"}


def rebuild(dataset: str, known: Known) -> Known:
    """Make the like of a removed release, which is not made live; returns it under its new number.

    Raises:
        LlmcfError: if a verb fails, which is named, or nothing is left of the release whose weights it had.
    """
    one = next(one for one in gone.of(dataset) if one.number == known.number)
    if one.as_of == LATEST:
        raise LlmcfError(
            f"release {one.number} was made of {LATEST}, whose data may be others now: no day to make it of"
        )
    say(f"release {one.number} of {dataset}, of days before {date_of(known.until)}, is made anew")
    number = _base(one)
    for command in preparing(one):
        _run(command)
    made = _run(making(one, number))
    anew = releases.read(dataset, made["details"]["release"])
    return Known(known_until(anew), anew.number)


def preparing(one: Release) -> Iterator[str]:
    """The verbs that fill what a release was made of, one after the other; those whose folder is there are left out.

    A generator: what is there is looked at when the verbs before have run.
    """
    ws = one.workspace
    if not _there(ws.path("data")):
        yield _command(one, "data prepare")
    if not _there(ws.path("training")):
        yield from (_command(one, f"features {verb}") for verb in ("build", "apply", "join"))
    for folder, verb in dict.fromkeys(_needs(ws, one)):
        if not _there(folder):
            if verb in _BEFORE:
                yield _command(one, _BEFORE[verb])
            yield _command(one, verb)
    if one.refreshed is None:
        names = _named(one.stages["ranker"])
        yield remedy(ws, f"rank train {names}")
        names = _named(one.stages["user_vector"])
        yield remedy(ws, f"retrieve train {names}")


def making(one: Release, number: int | None) -> str:
    """The verb that makes the release of what is there; `number` is that of the release whose weights it had."""
    if number is None:
        return f"{one.remedy} --no-promote"
    return f"{remedy(one.workspace, 'release refresh')} --release {number} --no-promote"


def _base(one: Release) -> int | None:
    """The release whose weights it had, made anew where that is gone too."""
    if one.refreshed is None or one.refreshed in releases.numbers(one.dataset):
        return one.refreshed
    known = {other.number: Known(known_until(other), other.number) for other in gone.of(one.dataset)}
    if one.refreshed not in known:
        raise LlmcfError(f"release {one.number} had the weights of release {one.refreshed}, of which nothing is left")
    return rebuild(one.dataset, known[one.refreshed]).number


def _needs(ws: Workspace, one: Release) -> Iterator[tuple[Path, str]]:
    """Folders beside the rows that the release's runs read, each with the verb that fills it."""
    from ranking import inputs
    from ranking import recipes as ranking_recipes
    from ranking.runs import told_set
    from retrieval_stage import recipes as retrieval_recipes
    from retrieval_stage import runs

    ranker, tower = (
        {"model": stage.backbone, "framework": stage.framework, "recipe": stage.recipe, "seed": stage.seed}
        for stage in (one.stages["ranker"], one.stages["user_vector"])
    )
    told = told_set(ws, one.stages["ranker"].recipe)
    found = inputs.needs(ws, ranking_recipes.resolve(ws, **ranker, cot_set=told))
    found += runs.needs(ws, retrieval_recipes.resolve(**tower))
    yield from ((folder, verb) for folder, verb in found if folder not in (ws.path("data"), ws.path("training")))


def _named(stage: Stage) -> str:
    return Choice(backbone=stage.backbone, framework=stage.framework, recipe=stage.recipe, seed=stage.seed).words


def _command(one: Release, verb: str) -> str:
    words = verb
    if verb in _SEEDED:
        words += f" --seed {one.stages['ranker'].seed}"
    if verb in _ENCODING and (encoder := (one.encoder or one.knowledge_encoder).split("@")[0]):
        words += f" --encoder {shlex.quote(encoder)}"
    return remedy(one.workspace, words)


def _there(folder: Path) -> bool:
    return steps.Step(folder=folder, config=None).stamp() is not None


def _run(command: str) -> dict[str, Any]:
    """The JSON object of a verb, run in a process of its own."""
    say(command)
    words = [sys.executable, "-m", *shlex.split(command), "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise LlmcfError(f"`{command}` failed; mend what it says above and repeat this, which goes on from there")
    return json.loads(done.stdout)
