"""`llmcf lineage`: what was made of what."""

from typing import Annotated

import typer

from core.contracts import ORDERS
from core.errors import check_choice
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, known

lineage = group("What was made of what, from raw files to releases and figures.")
_WHAT = (
    "A run's folder, release:3, release:live, a path from the workspace, a pack, a collection, a line of results "
    "(amazon-beauty.jsonl:12), a report's folder or page, or how a digest begins."
)


@lineage.command("show")
def lineage_show(
    what: Annotated[str, typer.Argument(help=_WHAT)],
    dataset: Annotated[str | None, typer.Option(help="Only what is of this data set.")] = None,
    order: Annotated[str | None, typer.Option(help="Only what is of this order.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Only what is of this day, or latest.")] = None,
    up: Annotated[bool, typer.Option("--up/--down", help="To the raw data, or to all that was made of it.")] = True,
    milvus: Annotated[bool, typer.Option("--milvus", help="Also ask Milvus which versions it holds.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Walk from a table, index, model, release, figure or report to the raw data, or down: digest, command, state."""
    from llmcf.lineage import show

    if order:
        check_choice("order", order, ORDERS)
    place = (known(dataset) if dataset else None, order, as_of)
    run(lambda: show.show(what, up=up, place=place, ask_milvus=milvus), as_json=as_json)
