"""`llmcf compare`: two runs, releases or days beside each other."""

from typing import Annotated

import typer

from core.contracts import ORDERS
from core.errors import check_choice
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import known

_WHAT = "A run's name (deepfm-llm-cf-strict-s2023), release:2, or a day (2026-01-31, latest)."


def compare(
    first: Annotated[str, typer.Argument(help=_WHAT)],
    second: Annotated[str, typer.Argument(help="Another of the same kind.")],
    dataset: Annotated[str | None, typer.Option(help="Only what is of this data set.")] = None,
    order: Annotated[str | None, typer.Option(help="Only what is of this order.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Only what is of this day, or latest.")] = None,
    draws: Annotated[int, typer.Option(help="Of the bootstrap over users that each interval rests on.")] = 500,
    seed: Annotated[int, typer.Option(help="Of these draws.", min=0)] = 0,
    as_json: opt.Json = False,
) -> None:
    """Show what differs in configuration, data and figures, with a paired test on common test rows and by segment."""
    from llmcf.compare import comparison

    if order:
        check_choice("order", order, ORDERS)
    place = (known(dataset) if dataset else None, order, as_of)
    run(lambda: comparison.compare(first, second, place=place, draws=draws, seed=seed), as_json=as_json)
