"""`llmcf index`: the versions of examples and items in Milvus."""

from typing import Annotated

import typer

from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, workspace

index = group("Indexes in Milvus: list their versions, roll back.")


@index.command("list")
def index_list(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Show the versions of a workspace's indexes: which is live, its index and server, and the recall it has."""
    from llmcf import indexes

    place = workspace(dataset, order, as_of)
    run(lambda: indexes.listing(place), as_json=as_json)


@index.command("rollback")
def index_rollback(
    kind: Annotated[str, typer.Option(help="cot (the examples) or items.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    version: Annotated[
        int | None, typer.Option(help="Number of the version; the one before the live one if not given.", min=1)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Make the version before the live one live again; releases go on with the versions that they name."""
    from llmcf import indexes

    place = workspace(dataset, order, as_of)
    run(lambda: indexes.rollback(place, kind, version), as_json=as_json)
