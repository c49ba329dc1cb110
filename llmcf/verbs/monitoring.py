"""`llmcf monitor`: what has changed since a reference day."""

from pathlib import Path
from typing import Annotated

import typer

from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import workspace


def monitor(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    reference: Annotated[
        str | None,
        typer.Option(help="The day to hold it against; an earlier live release's, else a week ago's."),
    ] = None,
    textfile: Annotated[
        Path | None, typer.Option(help="Also write the text for Prometheus here, for a node_exporter; ends in .prom.")
    ] = None,
    fail_on_alert: Annotated[bool, typer.Option("--fail-on-alert", help="Exit code 3 if there is an alert.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Measure drift, texts, scores, recommendations and online features of a day; a page, figures, alerts."""
    from llmcf.monitoring import run as monitoring

    place = workspace(dataset, order, as_of)
    run(
        lambda: monitoring.monitor(place, against=reference, textfile=textfile),
        as_json=as_json,
        verify=monitoring.require_none if fail_on_alert else None,
    )
