"""`llmcf llm` and `recgen`: the language model and its tuning, offline."""

import shlex
from typing import Annotated, Any

import typer

from core.errors import UsageError
from llm.defaults import ENCODER, LLM, PINNED
from llm.methods import METHODS
from llm.recgen.recipes import ORDERS, PRECISIONS, SAMPLINGS, ZERO_STAGES, Size, TuningConfig
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, workspace

llm = group("Language model and text encoder.")
recgen = group("Fine-tuning the language model on recommendation and general data.")
TUNING, SIZE = TuningConfig(), Size()  # whose fields are the defaults

Fetched = Annotated[str, typer.Option(help="Language model: a name, a hub id or a folder.")]
Encoder = Annotated[str, typer.Option(help="Text encoder: a name, a hub id or a folder.")]
Model = Annotated[str, typer.Option(help="recgen or another tuned method, base, pinned, or a model folder.")]
TunedModel = Annotated[str, typer.Option(help="recgen or another tuned method, base, or a model folder.")]
PinnedModel = Annotated[
    str, typer.Option(help="A method tuned in this workspace, base, or a model folder; if not given, say which it is.")
]
CheckedModel = Annotated[str, typer.Option(help="recgen or another method tuned in this workspace, or a model folder.")]
Pairs = Annotated[int, typer.Option(help="Held-out pairs that are scored.", min=1)]
Instructions = Annotated[int, typer.Option(help="Held-out answers whose likelihood is measured.", min=1)]
Texts = Annotated[int, typer.Option(help="Answers that are written and looked at.", min=1)]
Mmlu = Annotated[int, typer.Option("--mmlu", help="Questions of each MMLU subject, in minutes; 0 asks none.", min=0)]
Checked = Annotated[bool, typer.Option("--checked", help="Only a model whose check has passed (`llm check`).")]
Host = Annotated[str, typer.Option(help="Where to listen; beyond loopback only behind a proxy.")]
Method = Annotated[str, typer.Option(help=f"{' | '.join(name for name in METHODS if name != 'base')}.")]
Rows = Annotated[
    int, typer.Option(help="Recommendation rows of a full run; 0 is all training rows, the paper's epoch.", min=0)
]
Base = Annotated[str, typer.Option(help="Base model: a fetched one or a folder.")]
Batch = Annotated[int, typer.Option(help="Sequences a process and micro-batch.")]
Accumulation = Annotated[int, typer.Option(help="Micro-batches a step.")]
LearningRate = Annotated[float, typer.Option(help="Peak learning rate; the paper's is 1e-5 for 7B.")]
MaxTokens = Annotated[int, typer.Option(help="Longest sample; the paper's is 1,024.")]
GeneralShare = Annotated[float, typer.Option(help="Share of general instructions, where mixed in.")]
GeneralSampling = Annotated[str, typer.Option(help=f"Each instruction alike, or each source: {' | '.join(SAMPLINGS)}.")]
MixOrder = Annotated[str, typer.Option(help=f"Where general instructions come: {' | '.join(ORDERS)}.")]
Precision = Annotated[
    str,
    typer.Option(help=f"Of matrix products: {' | '.join(PRECISIONS)}; auto is bfloat16 on a GPU, float32 on a CPU."),
]
ZeroStage = Annotated[int, typer.Option(help=f"DeepSpeed ZeRO stage: {' | '.join(map(str, ZERO_STAGES))}.")]
Offload = Annotated[bool, typer.Option("--offload", help="Keep what ZeRO shards in the host's memory.")]
ScoredRows = Annotated[
    int, typer.Option(help="Training rows to score; 0 is all that it was not trained on.", min=0)
]  # fmt: skip


@llm.command("fetch")
def llm_fetch(
    llm: Fetched = LLM, encoder: Encoder = ENCODER, as_json: opt.Json = False, dry_run: opt.DryRun = False
) -> None:
    """Bring the language model and the text encoder to this machine."""
    from llm import fetch

    run(
        lambda: fetch.fetch(llm=llm, encoder=encoder),
        as_json=as_json,
        estimate=(lambda: fetch.estimate_fetch(llm=llm, encoder=encoder)) if dry_run else None,
    )


@llm.command("check")
def llm_check(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: CheckedModel = TUNING.method,
    seed: opt.Seed = TUNING.seed,
    pairs: Pairs = SIZE.pairs,
    instructions: Instructions = SIZE.instructions,
    texts: Texts = SIZE.texts,
    mmlu: Mmlu = 0,
    as_json: opt.Json = False,
) -> None:
    """Hold a model against its limits and the pinned one, on the same held-out rows; nothing is pinned."""
    from llmcf.gates import model_check

    place = workspace(dataset, order, as_of)
    size = Size(pairs=pairs, questions=mmlu, instructions=instructions, texts=texts)
    verb = model_check.check
    run(lambda: verb(place, model=model, seed=seed, size=size), as_json=as_json, verify=model_check.require_passed)


@llm.command("due")
def llm_due(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    weekday: Annotated[
        int | None,
        typer.Option(help="On which it is tuned anyway, 1 is Monday; due where it went by without.", min=1, max=7),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Say whether drift asks for a tuning before its weekday, as `llmcf monitor` found it; exit code 99 if not."""
    from llmcf.monitoring import tuning

    place = workspace(dataset, order, as_of)
    run(lambda: tuning.due(place, weekday), as_json=as_json, verify=tuning.require_due)


@llm.command("pin")
def llm_pin(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: PinnedModel = PINNED,
    seed: opt.Seed = TUNING.seed,
    checked: Checked = False,
    as_json: opt.Json = False,
) -> None:
    """Keep the model that writes a data set's texts, so that a new day generates only what is new."""
    from core.data import tables
    from llm import pin
    from llmcf.gates import model_verdicts

    place = workspace(dataset, order, as_of)
    if checked and model == PINNED:
        raise UsageError("--checked is of the model that shall be pinned; name it by --model")
    again = tables.remedy(place, f"llm check --seed {seed} --model {shlex.quote(model)}")

    def allowed(name: str, key: str) -> dict[str, Any]:
        return model_verdicts.require_passed(place, name, key, again=again)

    run(lambda: pin.pin(place, model=model, seed=seed, allowed=allowed if checked else None), as_json=as_json)


@llm.command("serve")
def llm_serve(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: Model = TUNING.method,
    seed: opt.Seed = TUNING.seed,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
) -> None:
    """Serve a model with vLLM's OpenAI-compatible server, for `cot generate --engine server`."""
    from llm import models
    from llm.engines.vllm_engine import serve

    _, path = models.find_model(workspace(dataset, order, as_of), model, seed=seed)
    serve(path, host=host, port=port)


@recgen.command("train")
def recgen_train(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    method: Method = TUNING.method,
    seed: opt.Seed = TUNING.seed,
    rows: Rows = TUNING.rows or 0,
    model: Base = TUNING.model,
    batch: Batch = TUNING.batch,
    accumulation: Accumulation = TUNING.accumulation,
    learning_rate: LearningRate = TUNING.learning_rate,
    max_tokens: MaxTokens = TUNING.max_tokens,
    general_share: GeneralShare = TUNING.general_share,
    general_sampling: GeneralSampling = TUNING.general_sampling,
    mix_order: MixOrder = TUNING.order,
    precision: Precision = TUNING.precision,
    zero_stage: ZeroStage = TUNING.zero_stage,
    offload: Offload = TUNING.offload,
    processes: opt.Processes = TUNING.processes,
    nodes: opt.Nodes = TUNING.nodes,
    join: opt.Join = False,
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Fine-tune the language model with DeepSpeed; a killed run goes on from its last checkpoint."""
    from llm.recgen import train as stage

    place = workspace(dataset, order, as_of)
    config = TuningConfig(
        method=method, seed=seed, rows=rows or None, model=model, batch=batch, accumulation=accumulation,
        learning_rate=learning_rate, max_tokens=max_tokens, general_share=general_share,
        general_sampling=general_sampling, order=mix_order, precision=precision, zero_stage=zero_stage,
        offload=offload, processes=processes, nodes=nodes,
    )  # fmt: skip
    verb, estimate = (stage.join if join else stage.train), lambda: stage.estimate_train(place, config)
    run(lambda: verb(place, config), as_json=as_json, estimate=estimate if dry_run else None)


@recgen.command("score")
def recgen_score(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    model: TunedModel = TUNING.method,
    seed: opt.Seed = TUNING.seed,
    rows: ScoredRows = 2000,
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
    model: Annotated[str, typer.Option(help="The model that scored.")] = TUNING.method,
    seed: opt.Seed = TUNING.seed,
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
