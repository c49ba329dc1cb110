"""A training run as a step: the folder it fills, what it depends on, and whether it is still true."""

from pathlib import Path

from core import steps
from core.data.tables import remedy
from core.errors import Missing
from core.settings import Workspace
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import from_json

FOLDER = "retrieval"
SOURCES = [
    *(f"retrieval_stage/{name}.py" for name in ("configs", "embeddings", "evaluation", "inputs", "loop", "losses")),
    *(f"retrieval_stage/{name}.py" for name in ("objective", "registry", "sequences", "user_tower", "weights")),
    "retrieval_stage/models",
    "core/metrics.py",
    "ict/config.py",
    "ict/dropout.py",
    "ict/examples.py",
    "ict/filters.py",
    "ict/resume.py",
    "ict/seeding.py",
    "ict/update.py",
]
IN_CONTEXT_SOURCES = [
    "retrieval_stage/in_context.py",
    "ict/decoder.py",
    "ict/module.py",
    "ict/neighbours.py",
]


def run_step(ws: Workspace, config: RetrievalConfig) -> steps.Step:
    """The step of one run. Neighbours are not among its inputs: what they are made from is."""
    inputs, code = [ws.path("data"), ws.path("training")], list(SOURCES)
    if config.uses_examples:
        for name, verb in (("texts", "cot generate"), ("vectors", "cot embed")):
            steps.require(ws.path("cot", name), remedy(ws, verb))
            inputs.append(ws.path("cot", name))
        code += IN_CONTEXT_SOURCES
    return steps.Step(folder=run_folder(ws, config), config=config, inputs=inputs, code=code)


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
