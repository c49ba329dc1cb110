"""A training run as a step: the folder it fills, what it depends on, and whether it is still true."""

from pathlib import Path

from core import steps
from core.data.tables import remedy
from core.errors import Missing
from core.remedies import cot_verbs
from core.settings import Workspace
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import from_json

FOLDER = "retrieval"
_READ = ("configs", "embeddings", "evaluation", "inputs", "item_side", "registry", "sequences", "user_tower")
_DONE = ("account", "blend", "controls", "loop", "losses", "objective", "takings", "weights")
_COLD = ("text_map", "transition_graph", "unseen_items")
_SHARED = ("averaging", "config", "device", "dropout", "examples", "filters", "group", "resume", "seeding", "update")
SOURCES = [
    *(f"retrieval_stage/{name}.py" for name in (*_READ, *_DONE, *_COLD)),
    "retrieval_stage/models",
    *(f"ict/{name}.py" for name in _SHARED),
    *(f"core/{name}.py" for name in ("data/dated", "data/histories", "metrics", "segments", "uncertainty")),
]
IN_CONTEXT_SOURCES = [
    "retrieval_stage/in_context.py",
    "ict/decoder.py",
    "ict/module.py",
    "ict/neighbours.py",
]


def needs(ws: Workspace, config: RetrievalConfig) -> list[tuple[Path, str]]:
    """The folders that a run is made from, each with the verb that fills it. Neighbours are not among them: what they
    are made from is."""
    found = [(ws.path("data"), "data prepare"), (ws.path("training"), "features join")]
    if config.uses_examples:
        parts = zip(("texts", "vectors"), cot_verbs(config.in_context.cot_set), strict=True)
        found += [(ws.cot(part, config.in_context.cot_set), verb) for part, verb in parts]
    elif config.reads_texts:
        found.append((ws.cot("vectors"), "cot embed --items-only"))
    return found


def run_step(ws: Workspace, config: RetrievalConfig) -> steps.Step:
    """The step of one run.

    Raises:
        Missing: if an input is not there, or is of other rows than today's, naming the verb that makes it.
    """
    found = needs(ws, config)
    for folder, verb in found:
        steps.require_current(folder, remedy(ws, verb))
    code = SOURCES + (IN_CONTEXT_SOURCES if config.uses_examples else [])
    return steps.Step(folder=run_folder(ws, config), config=config, inputs=[folder for folder, _ in found], code=code)


def run_folder(ws: Workspace, config: RetrievalConfig) -> Path:
    return ws.path(FOLDER, config.name)


def unfinished(ws: Workspace, config: RetrievalConfig) -> Path:
    """Where a run keeps its checkpoints."""
    return ws.path(FOLDER, ".unfinished", config.name)


def run_remedy(ws: Workspace, named: RetrievalConfig) -> str:
    """The command that trains the named run."""
    names = f"--model {named.model} --framework {named.framework} --recipe {named.recipe} --seed {named.seed}"
    return remedy(ws, f"retrieve train {names}")


def trained(ws: Workspace, named: RetrievalConfig) -> RetrievalConfig:
    """The configuration that the named run was trained with.

    Raises:
        Missing: if there is none, or its inputs or code have changed since.
    """
    verb = run_remedy(ws, named)
    stamp = steps.require(run_folder(ws, named), verb)
    config = from_json(stamp["config"])
    step = run_step(ws, config)
    if step.current() is None:
        raise Missing(f"{step.folder} is older than its inputs or its code", verb)
    return config
