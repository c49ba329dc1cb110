"""`llmcf rank` and `retrieve`: the recommenders."""

from typing import Annotated

import typer

from core.contracts import RETRIEVAL_FRAMEWORKS
from core.errors import check_choice
from core.result import Result
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import check_names, group, workspace
from ranking.configs import RankerConfig
from ranking.recipes import READ, VARIANTS
from ranking.registry import MODELS
from retrieval_stage.recipes import VARIANTS as OF_RETRIEVAL
from retrieval_stage.registry import MODELS as RETRIEVAL_MODELS

_VARIANT = (
    f"LLM-CF without a part, or with other examples: {', '.join(filter(None, VARIANTS))}; "
    f"or, in recipe best, what else is read: {', '.join(READ)}."
)

rank = group("The ranking stage.")
retrieve = group("The retrieval stage.")

_Precision = Annotated[
    str,
    typer.Option(help="Of the in-context module's products in training: auto (float32), float32, bfloat16."),
]


@rank.command("train")
def rank_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help=f"Backbone: {', '.join(MODELS)}.")] = "deepfm",
    framework: opt.Framework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    epochs: opt.Epochs = None,
    variant: Annotated[str, typer.Option(help=_VARIANT)] = "",
    precision: _Precision = opt.PRECISION,
    processes: opt.Processes = 1,
    nodes: opt.Nodes = 1,
    join: opt.Join = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Train a ranking model; prints AUC, LogLoss and RelImpr. With several processes the tables are sharded by rows."""
    from ranking import trainer
    from ranking.recipes import resolve
    from ranking.runs import told_set

    check_names(recipe=recipe, framework=framework)
    place = workspace(dataset, order, as_of)
    names = {"model": model, "framework": framework, "recipe": recipe, "seed": seed}
    verb = trainer.join if join else trainer.train_as

    def config() -> RankerConfig:
        told = told_set(place, recipe)
        return resolve(place, **names, epochs=epochs, variant=variant, precision=precision, cot_set=told)

    run(
        lambda: verb(place, config(), processes=processes, nodes=nodes),
        as_json=as_json,
        estimate=(lambda: trainer.estimate_train(place, config())) if dry_run else None,
    )


@retrieve.command("date-scores")
def retrieve_date_scores(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    epochs: opt.Epochs = None,
    blocks: Annotated[int, typer.Option(help="Into how many the days are cut; the first has no scores.", min=2)] = 6,
    as_json: opt.Json = False,
) -> None:
    """Score every row by a SASRec of strictly earlier days, for the ranking variant `sequence`."""
    from retrieval_stage import dated_scores

    place = workspace(dataset, order, as_of)
    run(lambda: dated_scores.date_scores(place, seed=seed, epochs=epochs, blocks=blocks), as_json=as_json)


@retrieve.command("train")
def retrieve_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help=f"Backbone: {', '.join(RETRIEVAL_MODELS)}.")] = "sasrec",
    framework: opt.RetrievalFramework = "llm-cf",
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    epochs: opt.Epochs = None,
    variant: Annotated[str, typer.Option(help=f"LLM-CF otherwise: {', '.join(filter(None, OF_RETRIEVAL))}.")] = "",
    precision: _Precision = opt.PRECISION,
    processes: opt.Processes = 1,
    nodes: opt.Nodes = 1,
    join: opt.Join = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Train a retrieval model; prints HIT@k and NDCG@k over the whole catalogue. Processes share each batch."""
    from retrieval_stage import trainer
    from retrieval_stage.recipes import resolve

    check_names(recipe=recipe)
    check_choice("framework", framework, RETRIEVAL_FRAMEWORKS)
    place = workspace(dataset, order, as_of)
    verb = trainer.join if join else trainer.train_as

    def work() -> Result:
        names = {"model": model, "framework": framework, "recipe": recipe, "variant": variant}
        config = resolve(**names, seed=seed, epochs=epochs, precision=precision)
        return verb(place, config, processes=processes, nodes=nodes)

    run(
        work,
        as_json=as_json,
        estimate=(lambda: trainer.estimate_train(place, model=model, framework=framework, recipe=recipe, epochs=epochs))
        if dry_run
        else None,
    )
