"""`llmcf cot` and `kar`: what the language model writes, offline."""

from typing import Annotated

import typer

from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import check_names, group, workspace

Engine = Annotated[
    str, typer.Option(help="openvino (fast on a CPU), vllm (production), transformers, server (LLMCF_LLM_URL).")
]
Model = Annotated[str, typer.Option(help="recgen or another tuned method, base, or a model folder.")]
MaxRows = Annotated[int | None, typer.Option(help="Budget: begin at most so many texts in this run.")]
MaxTokens = Annotated[int | None, typer.Option(help="Budget: begin none after so many tokens.")]
Minutes = Annotated[float | None, typer.Option(help="Budget: begin none after so many minutes.")]
Encoder = Annotated[str, typer.Option(help="Text encoder: a name, a hub id or a folder.")]
CotSet = Annotated[
    str, typer.Option("--set", help="A named set of texts beside the main one, such as base or paper; empty: the main.")
]
ENGINE = "openvino"
ENCODER = "all-minilm-l6-v2"

cot = group("Chain of thought: generate, embed, index, search.")
kar = group("KAR's knowledge of users and items: generate, embed.")


@cot.command("generate")
def cot_generate(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    engine: Engine = ENGINE,
    model: Model = "recgen",
    limit: Annotated[
        int, typer.Option(help="How many training rows get a chain of thought; 0 is a tenth of them.", min=0)
    ] = 1000,
    selection: Annotated[str, typer.Option(help="uniform, or representative (k-means medoids).")] = "uniform",
    style: Annotated[str, typer.Option(help="guided (four parts, small models), led, free (large models).")] = "guided",
    part_tokens: Annotated[int | None, typer.Option(help="Longest part of a text; the style's own if not given.")] = (
        None
    ),
    prompt_tokens: Annotated[
        int, typer.Option(help="Longest prompt; a longer one loses its oldest history.", min=32)
    ] = 512,
    candidates: Annotated[int, typer.Option(help="Texts a row, of which the best is kept.")] = 1,
    attempts: Annotated[int, typer.Option(help="How often a faulty text is asked for before it is dropped.")] = 2,
    max_rows: MaxRows = None,
    max_tokens: MaxTokens = None,
    minutes: Minutes = None,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Write chains of thought for a sample of the training rows; several workers may run it at once."""
    from llm.cot import generate
    from llm.cot.writing import Budget

    place = workspace(dataset, order, as_of)
    config = generate.GenerateConfig(
        engine=engine,
        model=model,
        recipe=recipe,
        seed=seed,
        limit=limit or None,
        selection=selection,
        style=style,
        part_tokens=part_tokens,
        prompt_tokens=prompt_tokens,
        candidates=candidates,
        attempts=attempts,
    )
    limits = Budget(rows=max_rows, tokens=max_tokens, minutes=minutes)
    run(
        lambda: generate.generate(place, config, limits),
        as_json=as_json,
        estimate=(lambda: generate.estimate_generate(place, config)) if dry_run else None,
    )


@cot.command("pack")
def cot_pack(
    name: opt.PackName,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    engine: Engine = ENGINE,
    model: Model = "recgen",
    limit: Annotated[int, typer.Option(help="The rows that were asked for.", min=0)] = 1000,
    style: Annotated[str, typer.Option(help="The style of the prompts.")] = "guided",
    as_json: opt.Json = False,
) -> None:
    """Keep finished texts as a small file in llm/packs, to be restored without a model."""
    from llm.cot import packs
    from llm.cot.generate import GenerateConfig

    place = workspace(dataset, order, as_of)
    config = GenerateConfig(engine=engine, model=model, recipe=recipe, seed=seed, limit=limit or None, style=style)
    run(lambda: packs.pack(place, name, config), as_json=as_json)


@cot.command("restore")
def cot_restore(
    pack: opt.Pack,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    cot_set: CotSet = "",
    as_json: opt.Json = False,
) -> None:
    """Fill cot/texts from a pack: texts of a real run, without a language model."""
    from llm.cot import packs

    place = workspace(dataset, order, as_of)
    run(lambda: packs.restore(place, pack, cot_set=cot_set), as_json=as_json)


@cot.command("embed")
def cot_embed(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    encoder: Encoder = ENCODER,
    items_only: Annotated[bool, typer.Option("--items-only", help="Items alone: before representative rows.")] = False,
    cot_set: CotSet = "",
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Embed item texts and chains of thought; what was ever embedded is not embedded again."""
    from llm.cot import embed

    place = workspace(dataset, order, as_of)
    run(
        lambda: embed.embed(place, encoder=encoder, items_only=items_only, cot_set=cot_set),
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


Users = Annotated[int, typer.Option(help="Users that get a text; 0 is all with enough interactions.", min=0)]
Items = Annotated[int, typer.Option(help="Items that get a text; 0 is all.", min=0)]
Prefix = Annotated[int, typer.Option(help="First interactions of a user that the text is written from.", min=1)]
USERS, ITEMS, PREFIX = 1000, 1000, 3


@kar.command("generate")
def kar_generate(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    engine: Engine = ENGINE,
    model: Model = "base",
    users: Users = USERS,
    items: Items = ITEMS,
    prefix: Prefix = PREFIX,
    max_rows: MaxRows = None,
    max_tokens: MaxTokens = None,
    minutes: Minutes = None,
    as_json: opt.Json = False,
) -> None:
    """Write what users care about and what items are, for the framework kar; several workers may run it at once."""
    from llm.cot.writing import Budget
    from llm.kar import generate

    place = workspace(dataset, order, as_of)
    config = generate.KarConfig(
        engine=engine, model=model, seed=seed, users=users or None, items=items or None, prefix=prefix
    )
    limits = Budget(rows=max_rows, tokens=max_tokens, minutes=minutes)
    run(lambda: generate.generate(place, config, limits), as_json=as_json)


@kar.command("pack")
def kar_pack(
    name: opt.PackName,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    engine: Engine = ENGINE,
    model: Model = "base",
    users: Users = USERS,
    items: Items = ITEMS,
    prefix: Prefix = PREFIX,
    as_json: opt.Json = False,
) -> None:
    """Keep finished texts of users and items as a small file in llm/packs."""
    from llm.kar import packs
    from llm.kar.generate import KarConfig

    place = workspace(dataset, order, as_of)
    config = KarConfig(engine=engine, model=model, seed=seed, users=users or None, items=items or None, prefix=prefix)
    run(lambda: packs.pack(place, name, config), as_json=as_json)


@kar.command("restore")
def kar_restore(
    pack: opt.Pack,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Fill kar/texts from a pack, without a language model."""
    from llm.kar import packs

    place = workspace(dataset, order, as_of)
    run(lambda: packs.restore(place, pack), as_json=as_json)


@kar.command("embed")
def kar_embed(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    encoder: Encoder = ENCODER,
    as_json: opt.Json = False,
) -> None:
    """Embed the texts of users and items: a vector each, zero where there is none."""
    from llm.kar import embed

    place = workspace(dataset, order, as_of)
    run(lambda: embed.embed(place, encoder=encoder), as_json=as_json)
