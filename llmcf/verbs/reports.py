"""`llmcf backfill` and `llmcf report`: matrices of runs, and what they show."""

import shlex
from collections.abc import Mapping
from typing import Annotated

import typer

from core.contracts import FRAMEWORKS, RETRIEVAL_FRAMEWORKS
from core.errors import UsageError
from core.settings import LATEST
from llmcf.show import run
from llmcf.verbs import options as opt
from llmcf.verbs.groups import group, refuse_options, verb_and_group, workspace

Recipes = Annotated[str, typer.Option(help="Comma-separated.")]
Variants = Annotated[
    str,
    typer.Option(help="Comma-separated ablations and settings of LLM-CF, beside it as it is; `all` for every one."),
]
Seeds = Annotated[str, typer.Option(help="Comma-separated.")]
Again = Annotated[bool, typer.Option("--again", help="Also run cells whose results are there.")]
Workers = Annotated[int, typer.Option(help="Cells that are trained at a time; they share the cores.")]

Rows = Annotated[
    str,
    typer.Option(help="Runs on these rows, by the digest that a page names; empty: the workspace's, else the last's."),
]

backfill = group("Matrices of runs, each finished cell a line in results/.")
report = verb_and_group()


@backfill.command("recgen")
def backfill_recgen(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    seed: opt.Seed = opt.SEED,
    methods: Annotated[str, typer.Option(help="Comma-separated tuning methods; all eleven if not given.")] = "",
    rows: Annotated[int, typer.Option(help="Recommendation rows of a full run; 0 is all training rows.", min=0)] = 320,
    batch: Annotated[int, typer.Option(help="Sequences a step and process.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    general_share: Annotated[float, typer.Option(help="Share of general instructions, where mixed in.")] = 0.25,
    precision: opt.Precision = opt.PRECISION,
    pairs: Annotated[int, typer.Option(help="Held-out pairs that are scored.")] = 200,
    questions: Annotated[int, typer.Option(help="Questions of each MMLU subject; 0 is all there are.", min=0)] = 4,
    instructions: Annotated[int, typer.Option(help="Held-out answers whose likelihood is measured.")] = 48,
    texts: Annotated[int, typer.Option(help="Answers that are written and looked at.")] = 24,
    as_json: opt.Json = False,
) -> None:
    """Tune by every method of Figure 4 and measure recommendation and general ability."""
    from llm.methods import METHODS
    from llm.recgen.recipes import Size, TuningConfig
    from llmcf.backfill import recgen

    place = workspace(dataset, order, as_of)
    wanted = [name.strip() for name in methods.split(",") if name.strip()] or list(METHODS)
    config = TuningConfig(
        method="base",
        seed=seed,
        rows=rows or None,
        batch=batch,
        learning_rate=learning_rate,
        general_share=general_share,
        precision=precision,
    )
    size = Size(pairs=pairs, questions=questions or None, instructions=instructions, texts=texts)
    run(lambda: recgen.backfill(place, config, wanted, size), as_json=as_json)


@backfill.command("ranking")
def backfill_ranking(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    backbones: Annotated[str, typer.Option(help="Comma-separated; all six if not given.")] = "",
    frameworks: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(FRAMEWORKS)}; all if not given.")
    ] = "",
    recipes: Recipes = opt.RECIPE,
    variants: Variants = "",
    seeds: Seeds = str(opt.SEED),
    precision: opt.Precision = opt.PRECISION,
    again: Again = False,
    workers: Workers = 1,
    as_json: opt.Json = False,
) -> None:
    """Train every backbone with every framework, and keep what each reaches; what is there already is not run again."""
    from llmcf.backfill import ranking
    from llmcf.backfill.cells import check_variants
    from ranking.recipes import VARIANTS, variants_of

    place = workspace(dataset, order, as_of)
    listed = {"backbones": _names(backbones), "frameworks": _names(frameworks), "recipes": _names(recipes)}
    matrix = ranking.Matrix(
        **{name: values for name, values in listed.items() if values},
        variants=tuple(VARIANTS) if variants == "all" else ("", *_names(variants)),
        seeds=_numbers("--seeds", seeds),
        precision=precision,
    )
    if variants != "all":
        check_variants(_names(variants), matrix.frameworks, variants_of)
    options = {
        "dataset": dataset, "order": order, "as-of": "" if as_of == LATEST else as_of,
        "backbones": backbones, "frameworks": frameworks,
        "recipes": recipes, "variants": variants, "seeds": seeds,
        "precision": "" if precision == opt.PRECISION else precision,
    }  # fmt: skip
    command = _command("ranking", options)
    run(lambda: ranking.backfill(place, matrix, command=command, again=again, workers=workers), as_json=as_json)


@backfill.command("retrieval")
def backfill_retrieval(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    backbones: Annotated[str, typer.Option(help="Comma-separated; all if not given.")] = "",
    frameworks: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(RETRIEVAL_FRAMEWORKS)}; all if not given.")
    ] = "",
    recipes: Recipes = opt.RECIPE,
    variants: Variants = "",
    seeds: Seeds = str(opt.SEED),
    again: Again = False,
    workers: Workers = 1,
    as_json: opt.Json = False,
) -> None:
    """Train every retrieval model with and without LLM-CF, and keep what each reaches; what is there is not run."""
    from llmcf.backfill import retrieval
    from llmcf.backfill.cells import check_variants
    from retrieval_stage.recipes import VARIANTS

    place = workspace(dataset, order, as_of)
    listed = {"backbones": _names(backbones), "frameworks": _names(frameworks), "recipes": _names(recipes)}
    matrix = retrieval.Matrix(
        **{name: values for name, values in listed.items() if values},
        variants=tuple(VARIANTS) if variants == "all" else ("", *_names(variants)),
        seeds=_numbers("--seeds", seeds),
    )
    if variants != "all":
        check_variants(_names(variants), matrix.frameworks, lambda one: () if one == "none" else VARIANTS)
    options = {
        "dataset": dataset, "order": order, "as-of": "" if as_of == LATEST else as_of,
        "backbones": backbones, "frameworks": frameworks,
        "recipes": recipes, "variants": variants, "seeds": seeds,
    }  # fmt: skip
    command = _command("retrieval", options)
    run(lambda: retrieval.backfill(place, matrix, command=command, again=again, workers=workers), as_json=as_json)


@backfill.command("metrics")
def backfill_metrics(
    first: Annotated[str, typer.Option("--from", help="The first day, such as 2026-01-01.")],
    last: Annotated[str, typer.Option("--to", help="The last day, that one too.")],
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: Annotated[
        str | None,
        typer.Option(help="As-of day of the workspace whose rows are read; the newest that holds all the days."),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--release", help="Ask this release alone; each day's newest of earlier days if not given.", min=1
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make a pruned release anew where a day was its own; that trains.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that score days at a time.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Also score days whose figures are there.")] = False,
    seed: opt.Seed = opt.SEED,
    as_json: opt.Json = False,
) -> None:
    """Measure each day by the release of strictly earlier days: AUC, LogLoss, HIT and more by segment, as Parquet."""
    from llmcf.daily import backfill as daily

    place = workspace(dataset, order, opt.AS_OF)
    run(
        lambda: daily.backfill(
            place.dataset,
            place.order,
            first=first,
            last=last,
            as_of=as_of,
            release=number,
            rebuild=rebuild,
            workers=workers,
            again=again,
            seed=seed,
        ),
        as_json=as_json,
        verify=daily.require_rows,
    )


@report.callback()
def report_all(
    context: typer.Context,
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Put all that is measured of a data set and order on one page, or with a verb one kind of it.

    What is not measured stands there with the verb that measures it.
    """
    if context.invoked_subcommand:
        refuse_options(context)
        return
    from llmcf.overview import overview

    place = workspace(dataset, order, as_of)
    run(lambda: overview.report(place), as_json=as_json)


@report.command("ranking")
def report_ranking(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    rows: Rows = "",
    as_json: opt.Json = False,
) -> None:
    """Render the paper's Tables 3 and 5 and Figure 5 as measured here, beside the paper's figures."""
    from llmcf.reports import ranking

    place = workspace(dataset, order, as_of)
    run(lambda: ranking.report(place, rows=rows), as_json=as_json)


@report.command("retrieval")
def report_retrieval(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    rows: Rows = "",
    as_json: opt.Json = False,
) -> None:
    """Render the paper's Table 4 as measured here, beside the paper's figures and what needs no training."""
    from llmcf.reports import retrieval

    place = workspace(dataset, order, as_of)
    run(lambda: retrieval.report(place, rows=rows), as_json=as_json)


def _command(task: str, options: Mapping[str, str | None]) -> str:
    """The command line that was given, for the lines of results."""
    named = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["llmcf", "backfill", task, *named])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(option: str, text: str) -> tuple[int, ...]:
    if not _names(text) or not all(name.isdigit() for name in _names(text)):
        raise UsageError(f"{option} {text!r} is not a list of whole numbers such as 2023,2024")
    return tuple(map(int, _names(text)))


@report.command("recgen")
def report_recgen(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    as_json: opt.Json = False,
) -> None:
    """Draw Figure 4: recommendation against general ability, a point a method."""
    from llmcf.reports import recgen

    place = workspace(dataset, order, as_of)
    run(lambda: recgen.report(place), as_json=as_json)


@report.command("cot")
def report_cot(
    dataset: opt.Dataset = opt.DATASET,
    order: opt.Order = opt.ORDER,
    as_of: opt.AsOf = opt.AS_OF,
    cot_set: opt.CotSet = "",
    keep: Annotated[bool, typer.Option("--keep", help="Add the figures to results/cot/.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Show the quality of the chains of thought: content, scores, flags; with pictures."""
    from llmcf.reports import cot

    place = workspace(dataset, order, as_of)
    run(lambda: cot.report(place, cot_set=cot_set, keep=keep), as_json=as_json)
