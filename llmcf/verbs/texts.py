"""`llmcf cot` and `kar`: what the language model writes, offline."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.contracts import COT_CONTROLS
from core.errors import UsageError, check_choice
from llm.cot.recipes import COMMENTS, SELECTIONS, STYLES, GenerateConfig
from llm.defaults import ENCODER
from llm.engines import NAMES, placed
from llm.kar.recipes import KarConfig
from llm.texts.recipes import Budget
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import check_names, group, workspace

COT, KAR = GenerateConfig(), KarConfig()  # whose fields are the defaults

Engine = Annotated[
    str,
    typer.Option(
        help=f"{' | '.join(NAMES)}; openvino is fast on a CPU, server reads LLMCF_LLM_URL. ray, or ray:vllm and so "
        "on: on the cluster of LLMCF_RAY_ADDRESS."
    ),
]
Model = Annotated[str, typer.Option(help="recgen or another tuned method, base, pinned, or a model folder.")]
WritingModel = Annotated[
    str | None,
    typer.Option(
        help=f"recgen or another tuned method, base, pinned, or a model folder; if not given, {COT.model}, or on a "
        "dated day what `llm pin` has pinned."
    ),
]
Limit = Annotated[int, typer.Option(help="How many training rows get a chain of thought; 0 is a tenth of them.", min=0)]
Selection = Annotated[
    str, typer.Option(help=f"Which rows: {' | '.join(SELECTIONS)}, the last being medoids of k-means.")
]
Style = Annotated[
    str, typer.Option(help=f"{' | '.join(STYLES)}: four parts for small models, one opening, nothing for large ones.")
]
Comments = Annotated[
    str, typer.Option(help=f"{' | '.join(COMMENTS)}: what users wrote about their history's items, on earlier days.")
]
PartTokens = Annotated[int | None, typer.Option(help="Longest part of a text; the style's own if not given.")]
PromptTokens = Annotated[
    int, typer.Option(help="Longest prompt; a longer one loses comments, then its oldest history.", min=32)
]
Candidates = Annotated[int, typer.Option(help="Texts a row, of which the best is kept.")]
Attempts = Annotated[int, typer.Option(help="How often a faulty text is asked for before it is dropped.")]
MaxRows = Annotated[int | None, typer.Option(help="Budget: begin at most so many texts in this run.")]
MaxTokens = Annotated[int | None, typer.Option(help="Budget: begin none after so many tokens.")]
Minutes = Annotated[float | None, typer.Option(help="Budget: begin none after so many minutes.")]
Shard = Annotated[
    str | None,
    typer.Option(
        help="Write part i/N of the texts, from 0/N on, without any lock, and no table; off: the queue that all share. "
        "If not given: LLMCF_SHARD, JOB_COMPLETION_INDEX of LLMCF_SHARDS, or Slurm's array, in this order.",
    ),
]
Metrics = Annotated[
    Path | None,
    typer.Option(help="Write the same as Prometheus text to this file too, for node_exporter's textfile collector."),
]
Whole = Annotated[
    bool, typer.Option("--whole", help="In their place the examples' whole texts, for `cot search --queries text`.")
]
IndexType = Annotated[
    str | None,
    typer.Option(
        "--index",
        help="FLAT | IVF_FLAT | HNSW, or auto: FLAT, IVF_FLAT from 100,000 examples on; if not given, as last time.",
    ),
]
Queries = Annotated[
    str, typer.Option(help="factorised, out of item vectors as requests ask, or text, which needs the encoder.")
]
Encoder = Annotated[str, typer.Option(help="Text encoder: a name, a hub id or a folder.")]
Users = Annotated[int, typer.Option(help="Users that get a text; 0 is all with enough interactions.", min=0)]
Items = Annotated[int, typer.Option(help="Items that get a text; 0 is all.", min=0)]
Prefix = Annotated[int, typer.Option(help="First interactions of a user that the text is written from.", min=1)]

cot = group("Chain of thought: generate, embed, index, search.")
kar = group("KAR's knowledge of users and items: generate, embed.")


@cot.command("generate")
def cot_generate(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = COT.recipe,
    seed: opt.Seed = COT.seed,
    engine: Engine = COT.engine,
    model: WritingModel = None,
    limit: Limit = COT.limit or 0,
    selection: Selection = COT.selection,
    style: Style = COT.style,
    comments: Comments = COT.comments,
    part_tokens: PartTokens = COT.part_tokens,
    prompt_tokens: PromptTokens = COT.prompt_tokens,
    candidates: Candidates = COT.candidates,
    attempts: Attempts = COT.attempts,
    max_rows: MaxRows = None,
    max_tokens: MaxTokens = None,
    minutes: Minutes = None,
    shard: Shard = None,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Write chains of thought for a sample of the training rows; several workers may run it at once."""
    from llm import pins
    from llm.cot import generate
    from llm.texts.queue import part

    own, (engine, ray) = part(shard), placed(engine)
    place = workspace(dataset, order, as_of)
    config = GenerateConfig(
        engine=engine, model=model or pins.writer(place, COT.model), recipe=recipe, seed=seed, limit=limit or None,
        selection=selection, style=style, comments=comments, part_tokens=part_tokens, prompt_tokens=prompt_tokens,
        candidates=candidates, attempts=attempts,
    )  # fmt: skip
    limits = Budget(rows=max_rows, tokens=max_tokens, minutes=minutes)
    estimate = (lambda: generate.estimate_generate(place, config)) if dry_run else None
    run(lambda: generate.generate(place, config, limits, own, ray=ray), as_json=as_json, estimate=estimate)


@cot.command("status")
def cot_status(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    metrics: Metrics = None,
    as_json: opt.Json = False,
) -> None:
    """Say how far `cot generate` is: shards, who has them, texts written of asked, tokens a second, time left."""
    from llm.cot.generate import VERB
    from llm.texts import status

    place = workspace(dataset, order, as_of)
    run(lambda: status.status(place, place.cot("texts"), VERB, metrics=metrics), as_json=as_json)


@cot.command("pack")
def cot_pack(
    name: opt.PackName,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Keep what `cot generate` wrote here as a small file in llm/packs, to be restored without a model."""
    from llm.cot import packs

    place = workspace(dataset, order, as_of)
    run(lambda: packs.pack(place, name), as_json=as_json)


@cot.command("restore")
def cot_restore(
    pack: opt.Pack,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    cot_set: opt.CotSet = "",
    limit: Annotated[int | None, typer.Option(help="So many rows of the pack, the first of its draw.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Fill cot/texts from a pack: texts of a real run, without a language model."""
    from llm.cot import packs

    place = workspace(dataset, order, as_of)
    run(lambda: packs.restore(place, pack, cot_set=cot_set, limit=limit), as_json=as_json)


@cot.command("control")
def cot_control(
    kind: Annotated[str, typer.Option(help=f"What is left of the texts: {' | '.join(COT_CONTROLS)}.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    of: Annotated[str, typer.Option(help="The set they are made from; empty: the main.")] = "",
    seed: opt.Seed = COT.seed,
    as_json: opt.Json = False,
) -> None:
    """Make a set of texts out of another: facts or the model's words alone, at wrong rows, titles, random words."""
    from llm.cot import controls

    place = workspace(dataset, order, as_of)
    run(lambda: controls.control(place, kind, of=of, seed=seed), as_json=as_json)


@cot.command("embed")
def cot_embed(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    encoder: Encoder = ENCODER,
    items_only: Annotated[bool, typer.Option("--items-only", help="Items alone: before representative rows.")] = False,
    cot_set: opt.CotSet = "",
    whole: Whole = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Embed item texts and chains of thought; what was ever embedded is not embedded again."""
    from llm.cot import embed
    from llm.cot import whole as whole_texts

    place = workspace(dataset, order, as_of)
    if whole and (items_only or cot_set or dry_run):
        raise UsageError("--whole is of the main set's examples alone; leave --items-only, --set and --dry-run out")
    run(
        lambda: (
            whole_texts.embed_whole(place, encoder=encoder)
            if whole
            else embed.embed(place, encoder=encoder, items_only=items_only, cot_set=cot_set)
        ),
        as_json=as_json,
        estimate=(lambda: embed.estimate_embed(place)) if dry_run else None,
    )


@cot.command("index")
def cot_index(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    index_type: IndexType = None,
    as_json: opt.Json = False,
) -> None:
    """Push the examples into a new Milvus collection, verify it and flip the alias."""
    from ict import index

    place = workspace(dataset, order, as_of)
    run(lambda: index.index(place, kind=index_type), as_json=as_json)


@cot.command("search")
def cot_search(
    user: Annotated[str, typer.Option(help="User id as in the raw data.")],
    item: Annotated[str, typer.Option(help="Item id as in the raw data.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    queries: Queries = "factorised",
    as_json: opt.Json = False,
) -> None:
    """Show the in-context examples that a request for this user and item would see."""
    from ict import search
    from ict.index import QUERIES
    from llm.cot import whole

    check_names(recipe=recipe)
    check_choice("kind of query", queries, QUERIES)
    place = workspace(dataset, order, as_of)
    encode = partial(whole.queries, place) if queries == "text" else None
    run(lambda: search.search(place, user=user, item=item, recipe=recipe, seed=seed, encode=encode), as_json=as_json)


@kar.command("generate")
def kar_generate(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = KAR.seed,
    engine: Engine = KAR.engine,
    model: Model = KAR.model,
    users: Users = KAR.users or 0,
    items: Items = KAR.items or 0,
    prefix: Prefix = KAR.prefix,
    max_rows: MaxRows = None,
    max_tokens: MaxTokens = None,
    minutes: Minutes = None,
    shard: Shard = None,
    as_json: opt.Json = False,
) -> None:
    """Write what users care about and what items are, for the framework kar; several workers may run it at once."""
    from llm.kar import generate
    from llm.texts.queue import part

    own, (engine, ray) = part(shard), placed(engine)
    place = workspace(dataset, order, as_of)
    config = KarConfig(engine=engine, model=model, seed=seed, users=users or None, items=items or None, prefix=prefix)
    limits = Budget(rows=max_rows, tokens=max_tokens, minutes=minutes)
    run(lambda: generate.generate(place, config, limits, own, ray=ray), as_json=as_json)


@kar.command("pack")
def kar_pack(
    name: opt.PackName,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Keep what `kar generate` wrote here as a small file in llm/packs."""
    from llm.kar import packs

    place = workspace(dataset, order, as_of)
    run(lambda: packs.pack(place, name), as_json=as_json)


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
