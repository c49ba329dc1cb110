"""A step is stale when its code changes: its list of sources names all that its work imports, within the project."""

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

import core.data.features
import core.data.prepare
import ict.index
import ict.neighbours
import llm.cot.embed
import llm.cot.generate
import llm.cot.whole
import llm.kar.embed
import llm.kar.generate
import llm.recgen.evaluate
import llm.recgen.score
import llm.recgen.train
import llmcf.daily.scoring
import llmcf.monitoring.profile
import llmcf.serving.assemble
import ranking.runs
import retrieval_stage.dated_scores
import retrieval_stage.runs
from core.data.amazon import AMAZON
from core.data.movielens import MOVIELENS_100K
from core.settings import PROJECT

PACKAGES = ("core", "ict", "llm", "ranking", "retrieval_stage", "llmcf")
# Ground: what carries bytes, words and processes, and decides no number of a result.
GROUND = {
    *(f"core.{name}" for name in ("contracts", "deadlines", "environments", "errors", "homes", "leases", "memory")),
    "core.processor",
    "core.progress",
    *(f"core.{name}" for name in ("remedies", "result", "schemas", "settings", "steps", "storage", "torchrun")),
    "core.data",
    *(f"core.data.{name}" for name in ("downloads", "tables", "wheels")),
}
# Which data set and which model: their digests are among a step's inputs or in its configuration.
CHOSEN = {
    *(f"core.data.{name}" for name in ("datasets", "dataset", "kept")),
    *(f"llm.{name}" for name in ("defaults", "fetch", "methods", "models", "packs", "pins")),
}
# Each step: the modules that do its work, and its list.
STEPS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "data prepare, your own": (
        ["core.data.prepare", "core.data.described"],
        core.data.prepare.CODE,
    ),
    "data prepare, MovieLens": (
        ["core.data.prepare", "core.data.movielens"],
        [*core.data.prepare.CODE, *MOVIELENS_100K.code],
    ),
    "data prepare, Amazon": (
        ["core.data.prepare", "core.data.amazon"],
        [*core.data.prepare.CODE, *AMAZON["amazon-beauty"].code],
    ),
    "features build": (["core.data.features"], core.data.features.CODE),
    "cot index": (["ict.index"], ict.index.CODE),
    "rank train": (
        ["ranking.loop"],
        [*ranking.runs.SOURCES, *ranking.runs.IN_CONTEXT_SOURCES],
    ),
    "retrieve train": (
        ["retrieval_stage.loop"],
        [*retrieval_stage.runs.SOURCES, *retrieval_stage.runs.IN_CONTEXT_SOURCES],
    ),
    "retrieve date-scores": (["retrieval_stage.dated_scores"], retrieval_stage.dated_scores.CODE),
    "neighbours": (["ict.neighbours"], ict.neighbours.SOURCES),
    "cot generate": (["llm.cot.generate"], llm.cot.generate.CODE),
    "cot embed": (["llm.cot.embed"], llm.cot.embed.CODE),
    "cot embed --whole": (["llm.cot.whole"], llm.cot.whole.CODE),
    "kar generate": (["llm.kar.generate"], llm.kar.generate.CODE),
    "kar embed": (["llm.kar.embed"], llm.kar.embed.CODE),
    "recgen train": (["llm.recgen.train"], llm.recgen.train.CODE),
    "recgen score": (["llm.recgen.score"], llm.recgen.score.CODE),
    "export, release refresh": (
        ["ranking.export", "retrieval_stage.export", "retrieval_stage.items", "llmcf.serving.catalogue"],
        llmcf.serving.assemble.CODE,
    ),
    "monitor, the reference": (["llmcf.monitoring.profile"], llmcf.monitoring.profile.CODE),
    "backfill recgen, llm check": (["llm.recgen.evaluate"], llm.recgen.evaluate.CODE),
    "backfill metrics": (["llmcf.daily.scoring"], llmcf.daily.scoring.CODE),
}

# Of the verbs that write texts: whose changes write no other text, as tests/unit/llm/texts/test_job.py says.
WRITING = {"llm.texts.cache", "llm.texts.encoder", "llm.texts.queue", "llm.texts.ray_writing", "llm.texts.worklog"}
# Of what a release is asked about a day: what brings a release, a collection or a figure, and changes none of them.
CARRYING = {
    *(f"llmcf.daily.{name}" for name in ("choosing", "partitions")),
    *(f"llmcf.serving.{name}" for name in ("answers", "catalogue", "gone", "held", "manifest", "releases", "scorer")),
    *(f"llmcf.serving.{name}" for name in ("thresholds", "tracing", "triton_server", "verdicts")),
    *("llmcf.backfill.workers", "llmcf.feature_store", "llmcf.feature_store.ledger", "llmcf.feature_store.registry"),
    *("llmcf.gates.deciding", "llmcf.online.reader", "ict.milvus", "ict.milvus.indexes", "ict.examples"),
    "llm.quality",  # what of an example's text is shown
    *("ranking.weights", "retrieval_stage.sequences"),  # read vectors; build what a release then keeps
}
OUT = {"cot generate": WRITING, "kar generate": WRITING, "backfill metrics": CARRYING}


def file_of(module: str) -> Path | None:
    """Of a module or package of the project, if it is one and not empty."""
    base = PROJECT / module.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if module.split(".")[0] in PACKAGES and path.is_file() and path.read_text(encoding="utf-8").strip():
            return path
    return None


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it, `from package import module` included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def closure(modules: Sequence[str], out: set[str] | frozenset[str] = frozenset()) -> set[str]:
    """The files of modules and of all that they import, as paths in the project; the ground and `out` are left out."""
    found: set[str] = set()
    todo = list(modules)
    while todo:
        module = todo.pop()
        path = None if module in GROUND | CHOSEN | out else file_of(module)
        if path is not None and str(path.relative_to(PROJECT)) not in found:
            found.add(str(path.relative_to(PROJECT)))
            todo += imported(path)
    return found


def named(code: Sequence[str]) -> set[str]:
    """The files that a list of sources names, those of its folders included."""
    places = [PROJECT / name for name in code]
    paths = [path for place in places for path in (place.rglob("*.py") if place.is_dir() else [place])]
    assert all(path.is_file() for path in paths)
    return {str(path.relative_to(PROJECT)) for path in paths}


@pytest.mark.parametrize("step", STEPS)
def test_a_steps_sources_cover_what_its_work_imports(step: str) -> None:
    modules, code = STEPS[step]
    assert not closure(modules, OUT.get(step, set())) - named(code), "add these to the step's list of sources"


def test_a_closure_follows_imports_inside_functions_and_stops_at_the_ground() -> None:
    found = closure(["ranking.runs"])
    assert "ranking/inputs.py" in found, "imported inside a function"
    assert "ict/decoder.py" in closure(["ranking.loop"]), "imported by what is imported"
    assert not {"core/steps.py", "core/errors.py"} & found
