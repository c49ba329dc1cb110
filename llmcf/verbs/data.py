"""`llmcf data`, `features` and `audit`: from raw files to rows whose every number may be believed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.errors import Unavailable, UsageError
from core.settings import LATEST, Workspace
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, known, workspace

data = group("Raw data to interactions, items, users and rows.")
features = group("The feature store: point-in-time training rows and online features.")
audit = group("Proofs about what a workspace holds.")


@data.command("add")
def data_add(
    name: Annotated[str, typer.Argument(help="What to call it: lower-case letters, digits and hyphens.")],
    source: Annotated[Path, typer.Option(help="Its `dataset.toml`, or the folder that holds it.")],
    as_json: opt.Json = False,
) -> None:
    """Give a data set of your own a name, or take the changes of its description; then --dataset NAME is enough."""
    from core.data import adding

    run(lambda: adding.add(name, source), as_json=as_json)


@data.command("prepare")
def data_prepare(
    dataset: opt.Dataset = opt.DATASET,
    source: opt.Source = None,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    max_rejects: Annotated[float, typer.Option(help="Share of the lines that may be unusable.", min=0, max=1)] = 0.01,
    negative_draws: Annotated[
        int, typer.Option(help="Negatives a training row has; each epoch takes one.", min=1, max=499)
    ] = 1,
    engine: Annotated[str, typer.Option(help="duckdb (this machine), or spark (LLMCF_SPARK_MASTER).")] = "duckdb",
    quiet_days: Annotated[
        int, typer.Option(help="Days before --as-of without any interaction that are allowed; -1 warns.", min=-1)
    ] = -1,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Raw tables to interactions, items, users and rows with frozen negatives."""
    from core.data import adding, prepare

    if not dry_run:
        adding.adopt(dataset, source)
    place = workspace(dataset, order, as_of)
    run(
        lambda: prepare.prepare(
            place,
            source=source,
            seed=seed,
            engine=engine,
            negative_draws=negative_draws,
            max_rejects=max_rejects,
            quiet_days=quiet_days,
        ),
        as_json=as_json,
        estimate=(lambda: prepare.estimate_prepare(place)) if dry_run else None,
    )


@data.command("report")
def data_report(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Write a page about the data's quality: counts, gaps, long tail, ties, negatives; with pictures."""
    from llmcf.reports import data as page

    place = workspace(dataset, order, as_of)
    run(lambda: page.report(place), as_json=as_json)


@features.command("build")
def features_build(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Compute the dated feature tables that the feature store serves."""
    from core.data import features as build

    place = workspace(dataset, order, as_of)
    run(lambda: build.build(place), as_json=as_json)


@features.command("apply")
def features_apply(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Register entities, views and services with Feast."""
    from llmcf.feature_store import jobs

    place = workspace(dataset, order, as_of)
    run(lambda: jobs.apply(place), as_json=as_json)


@features.command("join")
def features_join(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Join the features to the rows, point in time: what both stages train on."""
    from llmcf.feature_store import jobs

    place = workspace(dataset, order, as_of)
    run(lambda: jobs.join(place), as_json=as_json)


@features.command("materialize")
def features_materialize(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Load the newest feature values into the online store."""
    from llmcf.feature_store import jobs

    place = workspace(dataset, order, as_of)
    run(lambda: jobs.materialize(place), as_json=as_json)


@features.command("push")
def features_push(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    file: Annotated[Path | None, typer.Option(help="JSON lines {user, item, timestamp}; stdin if not given.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Into the stores that the live release reads.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Take new interactions into the offline and the online store; safe to repeat."""
    from llmcf.feature_store import jobs

    place = _live(dataset, order, as_of) if live else workspace(dataset, order, as_of)
    if file is None:
        run(lambda: jobs.push(place, sys.stdin.buffer), as_json=as_json)
        return
    try:
        lines = file.open("rb")
    except FileNotFoundError as error:
        raise Unavailable(f"there is no {file}; it may come later") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    with lines:
        run(lambda: jobs.push(place, lines), as_json=as_json)


def _live(dataset: str, order: str | None, as_of: str) -> Workspace:
    """The live release's workspace; order and day would name another."""
    from llmcf.serving import releases

    if order or as_of != LATEST:
        raise UsageError("--live is the live release's order and day; leave --order and --as-of out")
    return releases.require(known(dataset)).workspace


@audit.command("skew")
def audit_skew(dataset: opt.Dataset = opt.DATASET, as_json: opt.Json = False) -> None:
    """Hold the sampled features that a service's rankers were given against the same features offline."""
    from llmcf import skew

    name = known(dataset)
    run(lambda: skew.skew(name), as_json=as_json, verify=skew.require_none)


@audit.command("leaks")
def audit_leaks(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Prove the leak rule on histories, features, examples, negatives and scores; exit code 3 if it is broken."""
    from llmcf import audit as proofs

    place = workspace(dataset, order, as_of)
    run(lambda: proofs.leaks(place), as_json=as_json, verify=proofs.require_none)
