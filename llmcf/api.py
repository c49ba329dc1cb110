"""For notebooks and scripts: the verbs' own functions, typed, with the command line's defaults.

Nothing heavy is loaded before a function needs it. What a verb skips because nothing has changed, these skip; what it
refuses, they refuse with the same `UsageError` or `Missing`. Progress goes to stderr.

    from llmcf import api

    ws = api.workspace("movielens-100k")
    api.train(ws, "deepfm", framework="none")
    print(api.text(api.compare("deepfm-none-strict-s2023", "deepfm-llm-cf-strict-s2023", dataset=ws.dataset)))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.contracts import FRAMEWORKS, RECIPES, RETRIEVAL_FRAMEWORKS, SEED
from core.errors import LlmcfError, Missing, Unavailable, UsageError, check_choice, unknown
from core.result import Result
from core.settings import LATEST, Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from llm.cot.recipes import GenerateConfig

__all__ = [
    "LlmcfError",
    "Missing",
    "Result",
    "Unavailable",
    "UsageError",
    "Workspace",
    "audit",
    "backfill_metrics",
    "compare",
    "daily_metrics",
    "embed",
    "evaluate",
    "export",
    "features",
    "generate",
    "index",
    "lineage",
    "prepare",
    "recommend",
    "releases",
    "report",
    "results",
    "runs",
    "scores",
    "table",
    "text",
    "train",
    "workspace",
]

TABLES = ("interactions", "comments", "items", "users", "rows", "training_rows")


def workspace(dataset: str, order: str | None = None, as_of: str = LATEST) -> Workspace:
    """The place of one data set, order and day, which the other functions take.

    >>> ws = api.workspace("amazon-beauty", "published")

    Args:
        order: shuffled-ties, published or global-time; None is the data set's own.
        as_of: a day (data before it only), or latest.

    Raises:
        UsageError: for an unknown data set, order or day, or if LLMCF_HOME cannot be written to.
    """
    from core import settings
    from core.data import kept

    settings.check_places()
    return Workspace(kept.check(dataset), order or kept.default_order(dataset), as_of)


def prepare(
    ws: Workspace,
    *,
    source: Path | None = None,
    seed: int = SEED,
    engine: str = "duckdb",
    negative_draws: int = 1,
    max_rejects: float = 0.01,
    quiet_days: int = -1,
) -> Result:
    """`llmcf data prepare`: raw tables to interactions, items, users and rows with frozen negatives.

    >>> api.prepare(ws).details["users"]
    >>> api.prepare(api.workspace("shop"), source=Path("examples/shop"))

    Args:
        negative_draws: negatives that a training row has; an epoch uses one of them.
        max_rejects: share of the lines of interactions that may be unusable.
        quiet_days: days without data before the end that pass; -1 warns of them alone.

    Raises:
        UsageError: for a malformed source, too many rejects, or no data before the day.
        Unavailable: for too many quiet days.
    """
    from core.data import prepare as verb

    return verb.prepare(
        ws,
        source=source,
        seed=seed,
        engine=engine,
        negative_draws=negative_draws,
        max_rejects=max_rejects,
        quiet_days=quiet_days,
    )


def features(ws: Workspace, *, online: bool = False) -> list[Result]:
    """`llmcf features build`, `apply`, `join`: dated features, and the point-in-time rows that models train on.

    >>> build, apply, join = api.features(ws)
    >>> join.details["rows"]

    Args:
        online: `materialize`, too, for requests.

    Raises:
        Missing: if the data is not prepared, or a joined feature is not what the interactions say.
    """
    from core.data import features as build
    from llmcf.feature_store import jobs

    done = [build.build(ws), jobs.apply(ws), jobs.join(ws)]
    return [*done, jobs.materialize(ws)] if online else done


def table(ws: Workspace, name: str) -> "pa.Table":
    """A prepared table: interactions, comments, items, users, rows or training_rows, which has the joined features.

    >>> api.table(ws, "items").to_pandas().head()

    Raises:
        UsageError: for another name.
        Missing: if it is not made yet; names the verb.
    """
    from core.data import tables

    check_choice("table", name, TABLES)
    read = {
        "interactions": tables.interactions,
        "comments": tables.comments,
        "items": tables.items,
        "users": tables.users,
        "rows": tables.rows,
        "training_rows": tables.training_rows,
    }
    return read[name](ws)


def generate(ws: Workspace, config: "GenerateConfig | None" = None) -> Result:
    """`llmcf cot generate`: chains of thought for a sample of the training rows; the command line's choices if none.

    >>> from llm.cot.recipes import GenerateConfig
    >>> api.generate(ws, GenerateConfig(model="base", limit=1000))

    Raises:
        UsageError, LlmcfError: for a model that is unknown or not there, or an engine that does not run here.
    """
    from llm import pins
    from llm.cot import generate as verb
    from llm.cot.recipes import GenerateConfig

    default = GenerateConfig()
    return verb.generate(ws, config or GenerateConfig(model=pins.writer(ws, default.model)))


def embed(ws: Workspace, *, cot_set: str = "") -> Result:
    """`llmcf cot embed`: vectors of the items' texts and the chains of thought, of a named set where one is given.

    >>> api.embed(ws).details["width"]

    Raises:
        Missing: if there are no texts.
    """
    from llm.cot import embed as verb

    return verb.embed(ws, cot_set=cot_set)


def index(ws: Workspace) -> Result:
    """`llmcf cot index`: publish the examples to Milvus as a new, verified version.

    >>> api.index(ws).details["collection"]

    Raises:
        LlmcfError: if vectors are missing, or Milvus is held, unreachable or answers wrongly.
    """
    from ict import index as verb

    return verb.index(ws)


def train(
    ws: Workspace,
    model: str,
    *,
    framework: str = "llm-cf",
    recipe: str = RECIPES[0],
    seed: int = SEED,
    epochs: int | None = None,
    variant: str = "",
    precision: str = "auto",
) -> Result:
    """`llmcf rank train` or `llmcf retrieve train`, by the backbone's name.

    >>> api.train(ws, "dcnv2", framework="kar").metrics["test"]["auc"]
    >>> api.train(ws, "sasrec", recipe="best").metrics["test"]["masked"]["ndcg@10"]

    Raises:
        UsageError: for an unknown name.
        Missing: if an input is not there; names the verb.
    """
    from ranking import registry as rankers
    from retrieval_stage import registry as towers

    if model not in (*rankers.MODELS, *towers.MODELS):
        raise unknown("model", model, [*rankers.MODELS, *towers.MODELS])
    check_choice("recipe", recipe, RECIPES)
    names = {"model": model, "framework": framework, "recipe": recipe, "variant": variant, "precision": precision}
    if model in towers.MODELS:
        check_choice("framework", framework, RETRIEVAL_FRAMEWORKS)
        from retrieval_stage import trainer as of_towers
        from retrieval_stage.recipes import resolve

        return of_towers.train_as(ws, resolve(**names, seed=seed, epochs=epochs))
    check_choice("framework", framework, FRAMEWORKS)
    from ranking import trainer
    from ranking.recipes import resolve as resolve_ranker
    from ranking.runs import told_set

    config = resolve_ranker(ws, **names, seed=seed, epochs=epochs, cot_set=told_set(ws, recipe))
    return trainer.train_as(ws, config)


def runs(ws: Workspace) -> "pa.Table":
    """The finished runs of a workspace: stage, run, split, metric, value.

    >>> api.runs(ws).to_pandas().pivot_table(index="run", columns=["split", "metric"], values="value")
    """
    import pyarrow as pa

    from llmcf.compare.comparison import figures
    from llmcf.compare.sides import runs_of

    lines = [
        {"stage": run.stage, "run": run.name, "split": split, "metric": metric, "value": value}
        for run in runs_of(ws)
        for split, found in run.metrics.items()
        for metric, value in figures(found).items()
    ]
    kinds = [(name, pa.string()) for name in ("stage", "run", "split", "metric")]
    return pa.Table.from_pylist(lines, schema=pa.schema([*kinds, ("value", pa.float64())]))


def evaluate(ws: Workspace, run: str) -> Result:
    """A finished run's metrics by split, and its test rows' by segment with 95 % intervals over users.

    >>> api.evaluate(ws, "deepfm-none-strict-s2023").details["segments"]["new items"]

    Raises:
        UsageError: if the workspace has no such run; names those there are.
        Missing: if its rows were made anew since.
    """
    from llmcf.compare import paired
    from llmcf.compare.sides import runs_of

    found = {one.name: one for one in runs_of(ws)}
    if run not in found:
        raise unknown("run", run, found or ["none here"])
    one = found[run]
    return Result(
        verb="evaluate",
        workspace=ws,
        recipe=one.stamp["config"]["recipe"],
        seed=one.stamp["config"]["seed"],
        metrics=one.metrics,
        details=paired.alone(one),
    )


def scores(ws: Workspace, run: str) -> "pa.Table":
    """What a run gave its validation and test rows: a ranker's scores, or a retrieval model's ranks.

    >>> (api.scores(ws, "sasrec-none-strict-s2023")["rank_masked"].to_numpy() <= 10).mean()

    Raises:
        UsageError: if the workspace has no such run; names those there are.
    """
    import pyarrow.parquet as pq

    from llmcf.compare.paired import SCORES
    from llmcf.compare.sides import runs_of

    found = {one.name: one for one in runs_of(ws)}
    if run not in found:
        raise unknown("run", run, found or ["none here"])
    return pq.read_table(found[run].folder / SCORES)


def results(task: str, dataset: str) -> list[dict[str, Any]]:
    """The measured lines of results/<task>/<data set>.jsonl, such as `llmcf backfill ranking` adds.

    >>> [line["metrics"]["test"]["auc"] for line in api.results("ranking", "amazon-beauty")]
    """
    from core import measurements

    return measurements.read(measurements.file(task, dataset))


def backfill_metrics(
    ws: Workspace,
    first: str,
    last: str,
    *,
    release: int | None = None,
    rebuild: bool = False,
    workers: int = 1,
    again: bool = False,
    seed: int = SEED,
) -> Result:
    """`llmcf backfill metrics`: each day by the newest release that was trained on earlier days, a Parquet file a day.

    >>> told = api.backfill_metrics(ws, "2026-01-01", "2026-01-31").details
    >>> told["missing"], told["empty"]

    Args:
        ws: whose rows are read; of `latest` the newest workspace that holds the days.
        first, last: both counted.
        release: asks this one alone.
        rebuild: makes a removed release anew where a day was its own.
        again: also scores days whose figures are there.

    Raises:
        UsageError: for what is no day, is not over yet, or `release` was trained on.
        Missing: if the data are not prepared, or Milvus lost what a release names.
    """
    from llmcf.daily import backfill

    return backfill.backfill(
        ws.dataset,
        ws.order,
        first=first,
        last=last,
        as_of=None if ws.as_of == LATEST else ws.as_of,
        release=release,
        rebuild=rebuild,
        workers=workers,
        again=again,
        seed=seed,
    )


def daily_metrics(ws: Workspace, first: str | None = None, last: str | None = None) -> "pa.Table":
    """What `llmcf backfill metrics` has written, a line a day, release, segment and metric; all days if none is named.

    >>> days = api.daily_metrics(ws).to_pandas()
    >>> days[(days.segment == "all") & (days.metric == "auc")].plot("day", "value")

    Raises:
        UsageError: for what is no day.
    """
    from datetime import date

    from llmcf.daily import partitions

    try:
        days = [None if one is None else date.fromisoformat(one) for one in (first, last)]
    except ValueError:
        raise UsageError(f"the days {first!r} and {last!r} are not both dates like 2026-01-31") from None
    return partitions.read(ws.dataset, ws.order, *days)


def compare(
    first: str,
    second: str,
    *,
    dataset: str | None = None,
    order: str | None = None,
    as_of: str | None = None,
    draws: int = 500,
) -> Result:
    """`llmcf compare`: two runs, releases or days; `details` holds what differs and the paired tests.

    >>> told = api.compare("release:2", "release:3", dataset="shop").details
    >>> told["runs"]["ranker"]["metrics"]["auc"]

    Args:
        dataset, order, as_of: what is meant where a name fits several; None is any.

    Raises:
        UsageError, Missing: for names that nothing has, and things that cannot be compared.
    """
    from llmcf.compare import comparison

    return comparison.compare(first, second, place=(dataset, order, as_of), draws=draws)


def lineage(
    what: str, *, up: bool = True, dataset: str | None = None, order: str | None = None, as_of: str | None = None
) -> Result:
    """`llmcf lineage show`: what something was made of, or with `up=False` all that was made of it.

    >>> [node["id"] for node in api.lineage("release:live").details["nodes"] if node["state"] == "stale"]

    Raises:
        UsageError: if nothing or several things are called so; names what is near.
    """
    from llmcf.lineage.show import show

    return show(what, up=up, place=(dataset, order, as_of))


def report(ws: Workspace, kind: str | None = None) -> Result:
    """`llmcf report`: a page of all that was measured, or of one kind: data, ranking, retrieval, recgen or cot.

    >>> api.report(ws).details["missing"]
    >>> api.report(ws, "ranking").artifacts

    Raises:
        UsageError: for another kind.
        Missing: if nothing of it was measured.
    """
    from llmcf.overview import overview
    from llmcf.reports import cot, data, ranking, recgen, retrieval

    if kind is None:
        return overview.report(ws)
    pages = {"data": data, "ranking": ranking, "retrieval": retrieval, "recgen": recgen, "cot": cot}
    return pages[check_choice("report", kind, pages)].report(ws)


def audit(ws: Workspace) -> Result:
    """`llmcf audit leaks`: proofs that no row knows more than it may.

    >>> api.audit(ws).details["violations"]
    0
    """
    from llmcf import audit as verb

    return verb.leaks(ws)


def export(
    ws: Workspace,
    *,
    ranker: str = "deepfm",
    framework: str = "llm-cf",
    recipe: str = RECIPES[0],
    retriever: str = "sasrec",
    retriever_framework: str | None = None,
    retriever_recipe: str | None = None,
    seed: int = SEED,
    promote: bool = False,
) -> Result:
    """`llmcf export`: a release of two trained runs, tried on Triton. Unlike the verb it makes it live only if asked.

    >>> api.export(ws, framework="none").details["release"]

    Raises:
        UsageError, LlmcfError: for a run that is missing, or a release that does not answer as its models.
    """
    from llmcf.serving import export as verb
    from llmcf.serving.assemble import Choice

    ranking = Choice(backbone=ranker, framework=framework, recipe=recipe, seed=seed)
    tower = Choice(
        backbone=retriever,
        framework=retriever_framework or verb.tower_framework(framework),
        recipe=retriever_recipe or recipe,
        seed=seed,
    )
    return verb.export(ws, ranking, tower, promote=promote)


def releases(dataset: str) -> Result:
    """`llmcf release list`: the releases of a data set, and which is live.

    >>> api.releases("shop").details["live"]
    """
    from core.data import kept
    from llmcf.serving import listing

    return listing.listing(kept.check(dataset))


def recommend(dataset: str, users: Sequence[str], *, k: int = 10, release: int | None = None) -> Result:
    """`llmcf recommend`: `k` items for each user (raw ids), with the examples they rest on; starts Triton if need be.

    >>> api.recommend("movielens-100k", ["196"], k=5).details["answers"][0]["items"]

    Raises:
        UsageError: for no user, a `k` out of range, or no such release.
        Missing: if no release is live.
    """
    from core.data import kept
    from llmcf.serving import recommend as verb
    from llmcf.serving import releases as there

    return verb.recommend(there.require(kept.check(dataset), release), users=users, k=k)


def text(result: Result) -> str:
    """A result as the command line prints it.

    >>> print(api.text(api.lineage("data")))
    """
    from llmcf.show import result_text

    return result_text(result)
