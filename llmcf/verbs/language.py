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


@llm.command("serve")
def llm_serve(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help="recgen or another tuned method, base, or a model folder.")] = "recgen",
    seed: opt.Seed = opt.SEED,
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback only behind a proxy.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
) -> None:
    """Serve a model with vLLM's OpenAI-compatible server, for `cot generate --engine server`."""
    from llm.engines.vllm_engine import serve
    from llm.recgen import tuning as stage

    _, path = stage.find_model(workspace(dataset, order, as_of), model, seed=seed)
    serve(path, host=host, port=port)


@recgen.command("train")
def recgen_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    method: Annotated[
        str,
        typer.Option(
            help="half, full, lora, neft, r3f, wise-ft-<alpha>, recgen (full and general data), rec-half-gen."
        ),
    ] = "recgen",
    seed: opt.Seed = opt.SEED,
    rows: Annotated[
        int | None, typer.Option(help="Recommendation rows of a full run; 0 is all training rows, the paper's epoch.")
    ] = 32,
    model: Annotated[str, typer.Option(help="Base model: a fetched one or a folder.")] = "smollm2-135m-instruct",
    batch: Annotated[int, typer.Option(help="Sequences a process and micro-batch.")] = 8,
    accumulation: Annotated[int, typer.Option(help="Micro-batches a step.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate; the paper's is 1e-5 for 7B.")] = 1e-4,
    max_tokens: Annotated[int, typer.Option(help="Longest sample; the paper's is 1,024.")] = 256,
    general_share: Annotated[float, typer.Option(help="Share of general instructions, where mixed in.")] = 0.25,
    general_sampling: Annotated[
        str, typer.Option(help="Each instruction alike, or each source: uniform, by-source.")
    ] = ("uniform"),
    mix_order: Annotated[str, typer.Option(help="mixed, general-first, general-last.")] = "mixed",
    precision: opt.Precision = opt.PRECISION,
    zero_stage: Annotated[int, typer.Option(help="DeepSpeed ZeRO stage: 1, 2 or 3.")] = 2,
    offload: Annotated[bool, typer.Option("--offload", help="Keep what ZeRO shards in the host's memory.")] = False,
    processes: Annotated[int, typer.Option(help="Processes of torchrun on a machine, one a device.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines; LLMCF_RENDEZVOUS says where they meet.", min=1)] = 1,
    join: Annotated[bool, typer.Option("--join", help="Take part in a run that another machine leads.")] = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Fine-tune the language model with DeepSpeed; a killed run goes on from its last checkpoint."""
    from llm.recgen import tuning as stage

    place = workspace(dataset, order, as_of)
    config = stage.TuningConfig(
        method=method,
        seed=seed,
        rows=rows or None,
        model=model,
        batch=batch,
        accumulation=accumulation,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        general_share=general_share,
        general_sampling=general_sampling,
        order=mix_order,
        precision=precision,
        zero_stage=zero_stage,
        offload=offload,
        processes=processes,
        nodes=nodes,
    )
    run(
        lambda: stage.join(place, config) if join else stage.train(place, config),
        as_json=as_json,
        estimate=(lambda: stage.estimate_train(place, config)) if dry_run else None,
    )


@recgen.command("score")
def recgen_score(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help="A tuned method, base, or a model folder.")] = "recgen",
    seed: opt.Seed = opt.SEED,
    rows: Annotated[
        int, typer.Option(help="Training rows to score; 0 is all that it was not trained on.", min=0)
    ] = 2000,
    as_json: opt.Json = False,
) -> None:
    """P(Yes) of training rows that did not train the model: the teacher of knowledge distillation."""
    from llm.recgen import teacher

    place = workspace(dataset, order, as_of)
    run(lambda: teacher.score(place, model=model, seed=seed, rows=rows or None), as_json=as_json)


@cot.command("generate")
def cot_generate(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    engine: Annotated[
        str,
        typer.Option(help="openvino (fast on a CPU), vllm (production), transformers, server (LLMCF_LLM_URL)."),
    ] = "openvino",
    model: Annotated[str, typer.Option(help="recgen or another tuned method, base, or a model folder.")] = "recgen",
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
    max_rows: Annotated[int | None, typer.Option(help="Budget: begin at most so many texts in this run.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Budget: begin none after so many tokens.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: begin none after so many minutes.")] = None,
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
    name: Annotated[str, typer.Option(help="What to call it.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    recipe: opt.Recipe = opt.RECIPE,
    seed: opt.Seed = opt.SEED,
    engine: Annotated[str, typer.Option(help="The engine that wrote.")] = "openvino",
    model: Annotated[str, typer.Option(help="The model that wrote.")] = "recgen",
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
    pack: Annotated[str, typer.Option(help="A pack of llm/packs.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Fill cot/texts from a pack: texts of a real run, without a language model."""
    from llm.cot import packs

    place = workspace(dataset, order, as_of)
    run(lambda: packs.restore(place, pack), as_json=as_json)


@cot.command("embed")
def cot_embed(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    encoder: Annotated[str, typer.Option(help="Text encoder: a name, a hub id or a folder.")] = "all-minilm-l6-v2",
    items_only: Annotated[bool, typer.Option("--items-only", help="Items alone: before representative rows.")] = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Embed item texts and chains of thought; what was ever embedded is not embedded again."""
    from llm.cot import embed

    place = workspace(dataset, order, as_of)
    run(
        lambda: embed.embed(place, encoder=encoder, items_only=items_only),
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
