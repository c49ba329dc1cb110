"""`llmcf serve`, `recommend`, `dag` and `demo`: what runs, and everything at once."""

from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from core.result import Result
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, known, workspace

if TYPE_CHECKING:
    from llmcf.serving.manifest import Release

dag = group("The Airflow DAG.")


Order = Annotated[str | None, typer.Option(help="Refuse a release of another order.")]
AsOf = Annotated[str | None, typer.Option(help="Refuse a release of another day.")]


def serve(
    dataset: opt.Dataset = opt.DATASET,
    number: opt.Release = None,
    order: Order = None,
    as_of: AsOf = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The service's port; 0 for a free one.", min=0, max=65535)] = 8080,
    admin_port: Annotated[
        int | None,
        typer.Option(help="A port of loopback where alone releases are chosen and counters read.", min=0, max=65535),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that answer.", min=1)] = 2,
    models_only: Annotated[bool, typer.Option("--models-only", help="Triton alone, without the service.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Start, run the canary inference, stop.")] = False,
    http_port: Annotated[
        int | None, typer.Option(help="Triton's HTTP port; a free one if not given.", min=1, max=65535)
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Triton's gRPC port; a free one if not given.", min=1, max=65535)
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Serve the live release until interrupted: the HTTP service and its Triton; a canary inference proves it first."""
    from llmcf.serving import serve as serving

    def work() -> Result:
        release = _release(dataset, number, order, as_of)
        if models_only:
            return serving.serve(release, check=check, http_port=http_port, grpc_port=grpc_port)
        from llmcf.service import supervisor

        return supervisor.serve(
            release,
            address=host,
            port=0 if check else port,  # beside a service that runs
            admin_port=None if check else admin_port,
            workers=workers,
            check=check,
            http_port=http_port,
            grpc_port=grpc_port,
        )

    run(work, as_json=as_json)


def recommend(
    user: Annotated[list[str], typer.Option(help="User id as in the raw data; may be repeated.")],
    k: Annotated[int, typer.Option(help="How many items.", min=1, max=100)] = 10,
    dataset: opt.Dataset = opt.DATASET,
    number: opt.Release = None,
    order: Order = None,
    as_of: AsOf = None,
    as_json: opt.Json = False,
) -> None:
    """Recommend items to users through the whole online path of a release, with the evidence for each."""
    from llmcf.serving import recommend as asking

    run(lambda: asking.recommend(_release(dataset, number, order, as_of), users=user, k=k), as_json=as_json)


def _release(dataset: str, number: int | None, order: str | None, as_of: str | None) -> "Release":
    """The release that is meant, which must be of the workspace that is named, if one is."""
    from llmcf.serving import releases

    release = releases.require(known(dataset), number)
    named = workspace(dataset, order or release.order, as_of or release.as_of)
    if named != release.workspace:
        raise UsageError(
            f"release {release.number} of {dataset} is of {release.order} {release.as_of}, not of {named.order} "
            f"{named.as_of}; leave --order and --as-of out, or see `llmcf release list --dataset {dataset}`"
        )
    return release


@dag.command("test")
def dag_test(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """Run the DAGs of a day, one after the other, with `airflow dags test` and the demo's sizes."""
    from llmcf import dag_test

    place = workspace(dataset, order, as_of)
    run(lambda: dag_test.test(place, seed=seed), as_json=as_json)


def demo(
    dataset: opt.Dataset = opt.DATASET,
    source: opt.Source = None,
    order: opt.Order = opt.ORDER,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """The main job: every verb in turn, then a report."""
    from core.data import adding
    from llmcf import demo as pipeline

    adding.adopt(dataset, source)
    place = workspace(dataset, order, opt.AS_OF)
    run(lambda: pipeline.demo(place, source=source, seed=seed), as_json=as_json)
