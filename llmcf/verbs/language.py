"""`llmcf llm` and `recgen`: the language model and its tuning, offline."""

from typing import Annotated

import typer

from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, workspace

llm = group("Language model and text encoder.")
recgen = group("Fine-tuning the language model on recommendation and general data.")


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
    from llm.recgen import train as stage

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
    processes: opt.Processes = 1,
    nodes: opt.Nodes = 1,
    join: opt.Join = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Fine-tune the language model with DeepSpeed; a killed run goes on from its last checkpoint."""
    from llm.recgen import train as stage

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
    from llm.recgen import score

    place = workspace(dataset, order, as_of)
    run(lambda: score.score(place, model=model, seed=seed, rows=rows or None), as_json=as_json)


@recgen.command("pack")
def recgen_pack(
    name: opt.PackName,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Annotated[str, typer.Option(help="The model that scored.")] = "recgen",
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """Keep finished scores as a small file in llm/packs."""
    from llm.recgen import score

    place = workspace(dataset, order, as_of)
    run(lambda: score.pack(place, name, model=model, seed=seed), as_json=as_json)


@recgen.command("restore")
def recgen_restore(
    pack: opt.Pack,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Fill scores/ from a pack, without a language model."""
    from llm.recgen import score

    place = workspace(dataset, order, as_of)
    run(lambda: score.restore(place, pack), as_json=as_json)
