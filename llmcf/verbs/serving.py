"""`llmcf serve`, `recommend`, `dag` and `demo`: what runs, and everything at once."""

from typing import Annotated

import typer

from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, workspace

dag = group("The Airflow DAG.")


def serve(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    check: Annotated[bool, typer.Option("--check", help="Start, run the canary inference, stop.")] = False,
    http_port: Annotated[int | None, typer.Option(help="HTTP port; a free one if not given.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; a free one if not given.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Serve the release with Triton on loopback until interrupted; a canary inference proves it first."""
    from llmcf.serving import serve

    place = workspace(dataset, order, as_of)
    run(lambda: serve.serve(place, check=check, http_port=http_port, grpc_port=grpc_port), as_json=as_json)


def recommend(
    user: Annotated[list[str], typer.Option(help="User id as in the raw data; may be repeated.")],
    k: Annotated[int, typer.Option(help="How many items.", min=1, max=100)] = 10,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Recommend items to users through the whole online path, with the evidence for each."""
    from llmcf.serving import recommend

    place = workspace(dataset, order, as_of)
    run(lambda: recommend.recommend(place, users=user, k=k), as_json=as_json)


@dag.command("test")
def dag_test(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Run the daily DAG once with `airflow dags test`."""
    from llmcf import dag_test

    place = workspace(dataset, order, as_of)
    run(lambda: dag_test.test(place), as_json=as_json)


def demo(
    dataset: opt.Dataset = opt.DATASET,
    source: opt.Source = None,
    order: opt.Order = opt.ORDER,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """The main job: every verb in turn, then a report."""
    from core.data import prepare
    from llmcf import demo as pipeline

    prepare.adopt(dataset, source)
    place = workspace(dataset, order, opt.AS_OF)
    run(lambda: pipeline.demo(place, source=source, seed=seed), as_json=as_json)
