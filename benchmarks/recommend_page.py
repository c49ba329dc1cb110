"""The page of `benchmarks.recommend`: a table an online store, a line a stage, its floor beneath."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import measured
from core.markdown import table
from llmcf.serving.manifest import Release

ALL = "all stages"
FLOOR = ", floor"  # ends the name of a stage's floor
_NAMES = {"llm-cf": "LLM-CF", "none": "plain"}
_FLOORS = (
    "A stage's floor: *features*, the bytes of the user's rows; *user vector*, a call to Triton without a model; "
    "*item search*, the product of all item vectors with one; *examples*, that of all examples' histories with one; "
    "*ranker*, its graph in this process."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Milliseconds of one stage, or of a floor, of `requests` requests; `release` is the ranker's framework."""

    store: str
    release: str
    candidates: int
    stage: str
    requests: int
    p50_ms: float
    p99_ms: float


def page(
    figures: Sequence[Figure],
    chosen: Mapping[str, Release],
    start: Mapping[str, Mapping[str, float]],
    command: str,
) -> str:
    """The figures with all that they were measured on, as Markdown."""
    first = next(iter(chosen.values()))
    lines = [
        "# A request, stage by stage",
        "",
        f"Ten items of {first.dataset} ({first.order}); one client, one request after the other, Triton on loopback, "
        f"{figures[0].requests:,} requests of each kind, which take turns.",
        f"{measured.sentence()}. `{command}`",
        "",
        *(f"- {_NAMES[name]}: {_told(release)}. {_started(start[name])}" for name, release in chosen.items()),
    ]
    for store in dict.fromkeys(one.store for one in figures):
        lines += ["", f"## Online store on {store}", "", *_table([one for one in figures if one.store == store])]
    return "\n".join([*lines, "", _FLOORS, "", *_ratios(figures), ""])


def _told(release: Release) -> str:
    ranker, tower = release.stages["ranker"], release.stages["user_vector"]
    return (
        f"release {release.number}, {ranker.backbone} {ranker.framework} {ranker.recipe}, "
        f"{tower.backbone} {tower.framework} {tower.recipe}"
    )


def _started(start: Mapping[str, float]) -> str:
    return (
        f"From the start of Python to a loaded release {start['seconds']:.1f} s ({start['cpu_seconds']:.1f} s on the "
        f"processor), {start['mib']:,.0f} MiB."
    )


def _table(figures: Sequence[Figure]) -> list[str]:
    found = {(one.release, one.candidates, one.stage): one for one in figures}
    columns = list(dict.fromkeys((one.release, one.candidates) for one in figures))
    stages = [one.stage for one in figures if not one.stage.endswith(FLOOR)]
    names = [name for stage in dict.fromkeys(stages) for name in (stage, stage + FLOOR)]
    rows = [[name, *(_cell(found.get((*column, name))) for column in columns)] for name in names]
    head = ["p50 / p99 ms", *(f"{_NAMES[release]}, {count} candidates" for release, count in columns)]
    return table(head, [row for row in rows if any(row[1:])])


def _cell(figure: Figure | None) -> str:
    return f"{figure.p50_ms:.2f} / {figure.p99_ms:.2f}" if figure else ""


def _ratios(figures: Sequence[Figure]) -> list[str]:
    """LLM-CF's median beside the plain backbone's."""
    p50 = {(one.store, one.candidates, one.release): one.p50_ms for one in figures if one.stage == ALL}
    pairs = [(store, count) for store, count, name in p50 if name == "llm-cf" and (store, count, "none") in p50]
    return [
        f"- {store}, {count} candidates: LLM-CF takes {p50[store, count, 'llm-cf'] / p50[store, count, 'none']:.2f} "
        "times as long as plain."
        for store, count in pairs
    ]
