"""`llmcf export` and `release`: what is served, how it becomes so, and how that is taken back."""

from typing import Annotated

import typer

from core.result import Result
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import check_names, group, known, workspace

release = group("Releases: list, check, promote, roll back, refresh, prune.")
Promote = Annotated[
    bool,
    typer.Option("--promote/--no-promote", help="Make it live once its canary has answered, unless a later day is."),
]


def export_release(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    ranker: Annotated[str, typer.Option(help="Ranking backbone.")] = "deepfm",
    framework: opt.Framework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    retriever: Annotated[str, typer.Option(help="Retrieval backbone.")] = "sasrec",
    retriever_framework: opt.TowerFramework = None,
    retriever_recipe: Annotated[str | None, typer.Option(help="The ranker's if not given.")] = None,
    seed: opt.Seed = opt.SEED,
    promote: Promote = True,
    as_json: opt.Json = False,
) -> None:
    """Make a release of two trained runs, try it with a canary inference on Triton, and make it live."""
    from llmcf.serving import export
    from llmcf.serving.assemble import Choice

    check_names(recipe=recipe, framework=framework)
    place = workspace(dataset, order, as_of)
    ranking = Choice(backbone=ranker, framework=framework, recipe=recipe, seed=seed)
    tower = Choice(
        backbone=retriever,
        framework=retriever_framework or export.tower_framework(framework),
        recipe=retriever_recipe or recipe,
        seed=seed,
    )
    run(lambda: export.export(place, ranking, tower, promote=promote), as_json=as_json)


@release.command("list")
def release_list(dataset: opt.Dataset = opt.DATASET, as_json: opt.Json = False) -> None:
    """Show the releases of a data set: what each was made of, which is live, which can be rolled back to."""
    from llmcf.serving import listing

    run(lambda: listing.listing(known(dataset)), as_json=as_json)


@release.command("check")
def release_check(
    dataset: opt.Dataset = opt.DATASET,
    number: Annotated[
        int | None, typer.Option("--release", help="Number of the release; the newest one if not given.", min=1)
    ] = None,
    onwards: Annotated[
        bool,
        typer.Option(
            "--onwards", help="By its bounds alone where a later day's is live, which a promotion may not rest on."
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Hold a release against its thresholds and the live release, on the same held-out rows; nothing goes live."""
    from llmcf.gates import check

    run(lambda: check.check(known(dataset), number, onwards=onwards), as_json=as_json, verify=check.require_passed)


@release.command("promote")
def release_promote(
    number: Annotated[int, typer.Option("--release", help="Number of the release.", min=1)],
    dataset: opt.Dataset = opt.DATASET,
    checked: Annotated[
        bool | None,
        typer.Option(
            "--checked/--unchecked",
            help="Whether it must have passed its check; what the data set's gates.toml says if not given.",
        ),
    ] = None,
    onwards: Annotated[
        bool,
        typer.Option(
            "--onwards",
            help="Leave it aside, and say so, where a later day's is live, or another was chosen since it was live.",
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Make a release live, once its canary has answered."""
    from llmcf.serving import listing

    run(lambda: listing.promote(known(dataset), number, checked=checked, onwards=onwards), as_json=as_json)


@release.command("rollback")
def release_rollback(
    dataset: opt.Dataset = opt.DATASET,
    leaving: Annotated[
        int | None, typer.Option("--from", help="Only from this one; where another is live, nothing is done.", min=1)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Make live again what was live before."""
    from llmcf.serving import listing

    run(lambda: listing.rollback(known(dataset), leaving), as_json=as_json)


@release.command("refresh")
def release_refresh(
    dataset: opt.Dataset = opt.DATASET,
    order: Annotated[str | None, typer.Option(help="Order of the new items and examples; the release's own.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Day of the new items and examples; the release's own.")] = None,
    number: opt.Release = None,
    promote: Promote = True,
    as_json: opt.Json = False,
) -> None:
    """Freeze a workspace's items and examples with the weights of a release: no training, about a minute."""
    from llmcf.serving import refresh, releases

    def work() -> Result:
        base = releases.require(known(dataset), number)
        place = workspace(dataset, order or base.order, as_of or base.as_of)
        return refresh.refresh(base, place, promote=promote)

    run(work, as_json=as_json)


@release.command("prune")
def release_prune(
    dataset: opt.Dataset = opt.DATASET,
    keep: Annotated[int, typer.Option(help="Releases that stay, the live one among them.", min=1)] = 3,
    as_json: opt.Json = False,
) -> None:
    """Remove old releases and what only they read in Milvus."""
    from llmcf.serving import listing

    run(lambda: listing.prune(known(dataset), keep), as_json=as_json)
