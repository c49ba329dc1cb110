"""`llmcf llm`, `recgen` and `cot`: the language model, offline."""

from typing import Annotated

import typer

from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import check_names, group, workspace

llm = group("Language model and text encoder.")
recgen = group("Fine-tuning the language model on recommendation and general data.")
cot = group("Chain of thought: generate, embed, index, search.")


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

    check_names(recipe=recipe)
    place = workspace(dataset, order, as_of)
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

    check_names(recipe=recipe)
    place = workspace(dataset, order, as_of)
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

    place = workspace(dataset, order, as_of)
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

    place = workspace(dataset, order, as_of)
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

    check_names(recipe=recipe)
    place = workspace(dataset, order, as_of)
    run(lambda: search.search(place, user=user, item=item, recipe=recipe, seed=seed), as_json=as_json)
