"""`llmcf workspace`: the days there are, and removing old ones."""

import sys
from typing import Annotated

import typer

from core.contracts import ORDERS
from core.errors import check_choice
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import check_names, group, known, workspace

workspaces = group("Workspaces, one for each data set, order and day: list, prune, what is pending.")
Dataset = Annotated[str | None, typer.Option(help="Only of this data set.")]


@workspaces.command("list")
def workspace_list(dataset: Dataset = None, as_json: opt.Json = False) -> None:
    """Show the workspaces of this home, their sizes and the releases that read them."""
    from llmcf import workspaces as rooms

    run(lambda: rooms.listing(known(dataset) if dataset else None), as_json=as_json)


@workspaces.command("prune")
def workspace_prune(
    keep: Annotated[int, typer.Option(help="How many of the newest days stay, of each data set and order.", min=1)],
    dataset: Dataset = None,
    order: Annotated[str | None, typer.Option(help="Only of this order.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: opt.Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
) -> None:
    """Remove old days with their collections and online rows, and unread caches; nothing that a release names."""
    from llmcf import workspaces as rooms

    if order:
        check_choice("order", order, ORDERS)

    def ask(question: str) -> bool:
        return sys.stdin.isatty() and typer.confirm(question, err=True)

    run(
        lambda: rooms.prune(
            keep=keep,
            dataset=known(dataset) if dataset else None,
            order=order,
            dry_run=dry_run,
            confirm=None if yes else ask,
        ),
        as_json=as_json,
    )


@workspaces.command("pending")
def workspace_pending(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    newest: Annotated[int, typer.Option(help="Look at so many of the newest days.", min=1)] = 7,
    hours: Annotated[float, typer.Option(help="What was made later may still be on its way.", min=0)] = 24,
    ranker: Annotated[str, typer.Option(help="Ranking backbone that is released.")] = "deepfm",
    framework: opt.Framework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    retriever: Annotated[str, typer.Option(help="Retrieval backbone that is released.")] = "sasrec",
    retriever_framework: opt.TowerFramework = None,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """Show days that stopped half-way: something was made of them, and nothing of that. Other runs do not count."""
    from llmcf import pending
    from llmcf.serving.assemble import Choice
    from llmcf.serving.export import tower_framework

    check_names(recipe=recipe, framework=framework)
    place = workspace(dataset, order, "latest")
    ranking = Choice(backbone=ranker, framework=framework, recipe=recipe, seed=seed)
    of_tower = retriever_framework or tower_framework(framework)
    tower = Choice(backbone=retriever, framework=of_tower, recipe=recipe, seed=seed)
    run(
        lambda: pending.pending(place.dataset, place.order, ranking, tower, newest=newest, hours=hours),
        as_json=as_json,
    )
