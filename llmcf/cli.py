"""The `llmcf` command. One verb, three callers: an Airflow task, an analyst and CI run the same `llmcf <verb>`.

Each verb only parses, calls one function of its stage and prints the result; heavy libraries load inside the verbs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core.contracts import FRAMEWORKS, RECIPES
from core.errors import LlmcfError, check_choice, unknown
from core.settings import Workspace
from llmcf import options as opt
from llmcf.show import run


class Verbs(TyperGroup):
    """A group that answers an unknown verb with the known ones."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None and not ctx.resilient_parsing:
            raise unknown("verb", f"{ctx.command_path} {cmd_name}", self.commands)
        return command


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(cls=Verbs, help=help_text, no_args_is_help=True, add_completion=False)


app = _group("LLM-CF: large language models enhanced collaborative filtering, from raw data to served recommendations.")
data = _group("Raw data to interactions, items, users and rows.")
features = _group("The feature store: point-in-time training rows and online features.")
llm = _group("Language model and text encoder.")
recgen = _group("Fine-tuning the language model on recommendation and general data.")
cot = _group("Chain of thought: generate, embed, index, search.")
rank = _group("The ranking stage.")
retrieve = _group("The retrieval stage.")
dag = _group("The Airflow DAG.")
audit = _group("Proofs about what a workspace holds.")
for name, group in {
    "data": data,
    "features": features,
    "llm": llm,
    "recgen": recgen,
    "cot": cot,
    "rank": rank,
    "retrieve": retrieve,
    "dag": dag,
    "audit": audit,
}.items():
    app.add_typer(group, name=name)


def _workspace(dataset: str, order: str, as_of: str) -> Workspace:
    from core.data.datasets import DATASETS

    check_choice("dataset", dataset, DATASETS)
    return Workspace(dataset, order, as_of)


def _check(*, recipe: str | None = None, framework: str | None = None) -> None:
    if recipe is not None:
        check_choice("recipe", recipe, RECIPES)
    if framework is not None:
        check_choice("framework", framework, FRAMEWORKS)


@data.command("prepare")
def data_prepare(
    dataset: opt.Dataset = opt.DATASET,
    source: opt.Source = None,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    max_rejects: Annotated[float, typer.Option(help="Share of the lines that may be unusable.", min=0, max=1)] = 0.01,
    negative_draws: Annotated[int, typer.Option(help="Negatives a training row has; each epoch takes one.", min=1)] = 1,
    engine: Annotated[str, typer.Option(help="duckdb (this machine), or spark (LLMCF_SPARK_MASTER).")] = "duckdb",
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Raw tables to interactions, items, users and rows with frozen negatives."""
    from core.data import prepare

    place = _workspace(dataset, order, as_of)
    run(
        lambda: prepare.prepare(
            place, source=source, seed=seed, engine=engine, negative_draws=negative_draws, max_rejects=max_rejects
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
    from llmcf import data_report as page

    place = _workspace(dataset, order, as_of)
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

    place = _workspace(dataset, order, as_of)
    run(lambda: build.build(place), as_json=as_json)


@features.command("apply")
def features_apply(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Register entities, views and services with Feast."""
    from llmcf import feature_store

    place = _workspace(dataset, order, as_of)
    run(lambda: feature_store.apply(place), as_json=as_json)


@features.command("join")
def features_join(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Join the features to the rows, point in time: what both stages train on."""
    from llmcf import feature_store

    place = _workspace(dataset, order, as_of)
    run(lambda: feature_store.join(place), as_json=as_json)


@features.command("materialize")
def features_materialize(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Load the newest feature values into the online store."""
    from llmcf import feature_store

    place = _workspace(dataset, order, as_of)
    run(lambda: feature_store.materialize(place), as_json=as_json)


@features.command("push")
def features_push(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    file: Annotated[Path | None, typer.Option(help="JSON lines {user, item, timestamp}; stdin if not given.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Take new interactions into the offline and the online store; safe to repeat."""
    from llmcf import feature_store

    place = _workspace(dataset, order, as_of)
    if file is None:
        run(lambda: feature_store.push(place, sys.stdin), as_json=as_json)
        return
    try:
        lines = file.open(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from error
    with lines:
        run(lambda: feature_store.push(place, lines), as_json=as_json)


@llm.command("fetch")
def llm_fetch(
    llm: Annotated[str, typer.Option(help="Language model: a name, a hub id or a folder.")] = "smollm2-135m-instruct",
    encoder: Annotated[str, typer.Option(help="Text encoder: a name, a hub id or a folder.")] = "all-minilm-l6-v2",
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Bring the language model and the text encoder to this machine."""
    from llm import fetch

    run(
        lambda: fetch.fetch(llm=llm, encoder=encoder),
        as_json=as_json,
        estimate=(lambda: fetch.estimate_fetch(llm=llm, encoder=encoder)) if dry_run else None,
    )


@recgen.command("train")
def recgen_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; the recipe's number if not given.", min=1)] = None,
    processes: Annotated[int, typer.Option(help="Processes of torchrun on this machine.", min=1)] = 1,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Fine-tune the language model with DeepSpeed ZeRO-2."""
    from llm import recgen as stage

    _check(recipe=recipe)
    place = _workspace(dataset, order, as_of)
    run(
        lambda: stage.train(place, recipe=recipe, seed=seed, steps=steps, processes=processes),
        as_json=as_json,
        estimate=(lambda: stage.estimate_train(place, recipe=recipe, steps=steps)) if dry_run else None,
    )


@cot.command("generate")
def cot_generate(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    engine: Annotated[
        str, typer.Option(help="openvino (fast on a CPU), vllm (production), transformers.")
    ] = "openvino",
    model: Annotated[str, typer.Option(help="recgen, base, or a model folder.")] = "recgen",
    limit: Annotated[int, typer.Option(help="How many training rows get a chain of thought.", min=2)] = 1000,
    max_new_tokens: Annotated[int, typer.Option(help="Longest text, in tokens.", min=8)] = 64,
    prompt_tokens: Annotated[
        int, typer.Option(help="Longest prompt; a longer one loses its oldest history.", min=32)
    ] = 512,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Write chains of thought for a sample of the training rows."""
    from llm import generate

    _check(recipe=recipe)
    place = _workspace(dataset, order, as_of)
    run(
        lambda: generate.generate(
            place,
            engine=engine,
            model=model,
            limit=limit,
            max_new_tokens=max_new_tokens,
            prompt_tokens=prompt_tokens,
            recipe=recipe,
            seed=seed,
        ),
        as_json=as_json,
        estimate=(lambda: generate.estimate_generate(place, engine=engine, limit=limit, max_new_tokens=max_new_tokens))
        if dry_run
        else None,
    )


@cot.command("embed")
def cot_embed(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    encoder: Annotated[str, typer.Option(help="Text encoder: a name, a hub id or a folder.")] = "all-minilm-l6-v2",
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Embed item texts and chains of thought."""
    from llm import embed

    place = _workspace(dataset, order, as_of)
    run(
        lambda: embed.embed(place, encoder=encoder),
        as_json=as_json,
        estimate=(lambda: embed.estimate_embed(place)) if dry_run else None,
    )


@cot.command("index")
def cot_index(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Push the examples into a new Milvus collection, verify it and flip the alias."""
    from ict import index

    place = _workspace(dataset, order, as_of)
    run(lambda: index.index(place), as_json=as_json)


@cot.command("search")
def cot_search(
    user: Annotated[str, typer.Option(help="User id as in the raw data.")],
    item: Annotated[str, typer.Option(help="Item id as in the raw data.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """Show the in-context examples that a request for this user and item would see."""
    from ict import search

    _check(recipe=recipe)
    place = _workspace(dataset, order, as_of)
    run(lambda: search.search(place, user=user, item=item, recipe=recipe, seed=seed), as_json=as_json)


@rank.command("train")
def rank_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help="Backbone.")] = "deepfm",
    framework: opt.Framework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    epochs: opt.Epochs = None,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Train a ranking model; prints AUC, LogLoss and RelImpr."""
    from ranking import trainer

    _check(recipe=recipe, framework=framework)
    place = _workspace(dataset, order, as_of)
    run(
        lambda: trainer.train(place, model=model, framework=framework, recipe=recipe, seed=seed, epochs=epochs),
        as_json=as_json,
        estimate=(lambda: trainer.estimate_train(place, model=model, framework=framework, recipe=recipe, epochs=epochs))
        if dry_run
        else None,
    )


@retrieve.command("train")
def retrieve_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help="Backbone.")] = "sasrec",
    framework: opt.Framework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    epochs: opt.Epochs = None,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Train a retrieval model; prints HIT@k and NDCG@k over the whole catalogue."""
    from retrieval_stage import trainer

    _check(recipe=recipe, framework=framework)
    place = _workspace(dataset, order, as_of)
    run(
        lambda: trainer.train(place, model=model, framework=framework, recipe=recipe, seed=seed, epochs=epochs),
        as_json=as_json,
        estimate=(lambda: trainer.estimate_train(place, model=model, framework=framework, recipe=recipe, epochs=epochs))
        if dry_run
        else None,
    )


@app.command("export")
def export_release(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    ranker: Annotated[str, typer.Option(help="Ranking backbone.")] = "deepfm",
    retriever: Annotated[str, typer.Option(help="Retrieval backbone.")] = "sasrec",
    framework: opt.Framework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """Export both models as ONNX into a new version in triton_models/ and publish the item vectors."""
    from llmcf import export

    _check(recipe=recipe, framework=framework)
    place = _workspace(dataset, order, as_of)
    run(
        lambda: export.export(
            place, model=ranker, retrieval_model=retriever, framework=framework, recipe=recipe, seed=seed
        ),
        as_json=as_json,
    )


@app.command("serve")
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
    from llmcf import triton

    place = _workspace(dataset, order, as_of)
    run(lambda: triton.serve(place, check=check, http_port=http_port, grpc_port=grpc_port), as_json=as_json)


@app.command("recommend")
def recommend(
    user: Annotated[list[str], typer.Option(help="User id as in the raw data; may be repeated.")],
    k: Annotated[int, typer.Option(help="How many items.", min=1, max=100)] = 10,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Recommend items to users through the whole online path, with the evidence for each."""
    from llmcf import online

    place = _workspace(dataset, order, as_of)
    run(lambda: online.recommend(place, users=user, k=k), as_json=as_json)


@dag.command("test")
def dag_test(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Run the daily DAG once with `airflow dags test`."""
    from llmcf import airflow

    place = _workspace(dataset, order, as_of)
    run(lambda: airflow.test(place), as_json=as_json)


@audit.command("leaks")
def audit_leaks(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Prove the leak rule on histories, features, examples, negatives and scores; exit code 1 if it is broken."""
    from llmcf import audit as proofs

    place = _workspace(dataset, order, as_of)
    run(lambda: proofs.leaks(place), as_json=as_json, verify=proofs.require_none)


@app.command("demo")
def demo(
    dataset: opt.Dataset = opt.DATASET,
    source: opt.Source = None,
    order: opt.Order = opt.ORDER,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """The main job: every verb in turn, then a report."""
    from llmcf import demo as pipeline

    place = _workspace(dataset, order, opt.AS_OF)
    run(lambda: pipeline.demo(place, source=source, seed=seed), as_json=as_json)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2, never a traceback."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; ours are core.progress
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads sleep: spinning starves whoever shares the cores
    try:
        app()
    except LlmcfError as error:
        print(f"llmcf: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("llmcf: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
