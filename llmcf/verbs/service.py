"""`llmcf key`, `llmcf rules` and `llmcf arms`: what operators of the HTTP service do without it."""

import time
from typing import Annotated

import typer

from core.markdown import table
from core.result import Result
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, known

key = group("Keys of the HTTP service: read, write or admin.")
rules = group("Rules of the HTTP service, by scene.")
arms = group("Arms of the HTTP service: releases beside the live one.")
Name = Annotated[str, typer.Option(help="What to call the key, in logs too.")]


@key.command("add")
def key_add(
    name: Name,
    role: Annotated[str, typer.Option(help="What it may do: read | write | admin.")] = "read",
    as_json: opt.Json = False,
) -> None:
    """Make a key and print it, once; only its digest is kept. The first key closes the service to everybody else."""
    from llmcf.service import keys

    def work() -> Result:
        made = keys.add(name, role)
        return Result(verb="key add", details={"name": name, "role": role, "key": made, "text": made})

    run(work, as_json=as_json)


@key.command("list")
def key_list(as_json: opt.Json = False) -> None:
    """Names, roles and ages of the keys."""
    from llmcf.service import keys

    def work() -> Result:
        rows = [[one.name, one.role, one.created] for one in keys.read()]
        text = "\n".join(table(["name", "role", "made"], rows)) if rows else "no keys"
        return Result(verb="key list", details={"keys": [row[0] for row in rows], "text": text})

    run(work, as_json=as_json)


@key.command("remove")
def key_remove(name: Name, as_json: opt.Json = False) -> None:
    """Take a key back; a running service refuses it from then on."""
    from llmcf.service import keys

    def work() -> Result:
        keys.remove(name)
        return Result(verb="key remove", details={"name": name})

    run(work, as_json=as_json)


@rules.command("check")
def rules_check(dataset: opt.Dataset = opt.DATASET, as_json: opt.Json = False) -> None:
    """Read the rules file of a data set against its live release, and tell each fault with its place."""
    from llmcf.service import house, rules
    from llmcf.serving import releases
    from llmcf.serving.catalogue import Catalogue

    def work() -> Result:
        start = time.monotonic()
        release = releases.live(known(dataset))
        rules.load(rules.path(dataset), rules.facts(Catalogue.load(release)) if release else None)
        details = {"file": str(rules.path(dataset)), "scenes": sorted(house.load(dataset).scenes)}
        return Result(verb="rules check", seconds=time.monotonic() - start, details=details)

    run(work, as_json=as_json)


@arms.command("check")
def arms_check(dataset: opt.Dataset = opt.DATASET, as_json: opt.Json = False) -> None:
    """Read the arms file of a data set against its releases, and tell each fault with its place."""
    from llmcf.serving import arms as trial
    from llmcf.serving import releases

    def work() -> Result:
        found = trial.load(trial.path(known(dataset)), releases.numbers(dataset))
        for number in sorted(found.releases):
            releases.require(dataset, number)
        return Result(verb="arms check", details={"file": str(trial.path(dataset)), **found.model_dump()})

    run(work, as_json=as_json)
