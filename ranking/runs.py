"""A training run as a step: the folder it fills, what it depends on, and whether it is still true."""

from pathlib import Path

from core import steps
from core.data.tables import remedy
from core.errors import Missing
from core.settings import Workspace
from ranking.configs import RankerConfig
from ranking.recipes import from_json, resolve

FOLDER = "ranking"
_OWN = ("averaging", "bags", "batch", "big_tables", "configs", "distributed", "embeddings", "inputs", "layers", "loop")
_READ = ("matching", "ranker", "registry", "rows", "text_match", "weights")
_SHARED = ("averaging", "config", "device", "dropout", "examples", "filters", "group", "resume", "seeding", "update")
SOURCES = [
    *(f"ranking/{name}.py" for name in (*_OWN, *_READ)),
    "ranking/models",
    "ranking/frameworks",
    *(f"ict/{name}.py" for name in _SHARED),
    *(f"core/{name}.py" for name in ("metrics", "tensors", "data/dated", "data/histories")),
]
IN_CONTEXT_SOURCES = ["ict/decoder.py", "ict/module.py", "ict/neighbours.py"]


def run_step(ws: Workspace, config: RankerConfig) -> steps.Step:
    """The step of one run; to ask what it depends on makes nothing."""
    from ranking.inputs import folders

    code = SOURCES + (IN_CONTEXT_SOURCES if config.uses_examples else [])
    return steps.Step(folder=run_folder(ws, config), config=config, inputs=folders(ws, config), code=code)


def run_folder(ws: Workspace, config: RankerConfig) -> Path:
    return ws.path(FOLDER, config.name)


def unfinished(ws: Workspace, config: RankerConfig) -> Path:
    """Where a run keeps its checkpoints, and what it tells the processes that share it."""
    return ws.path(FOLDER, ".unfinished", config.name)


def told_set(ws: Workspace, recipe: str) -> str:
    """The set of texts that a run of a recipe reads: recipe `paper` takes the set `paper` where there is one."""
    return "paper" if recipe == "paper" and ws.cot("texts", "paper").exists() else ""


def run_remedy(ws: Workspace, named: RankerConfig) -> str:
    """The command that trains the run."""
    names = f"--model {named.model} --framework {named.framework} --recipe {named.recipe} --seed {named.seed}"
    if named.variant:
        names += f" --variant {named.variant}"
    told = {"model": named.model, "framework": named.framework, "recipe": named.recipe, "seed": named.seed}
    usual = resolve(ws, **told, variant=named.variant, cot_set=named.in_context.cot_set)
    if named.epochs != usual.epochs:
        names += f" --epochs {named.epochs}"
    if (named.in_context.precision, named.backbone) != (usual.in_context.precision, usual.backbone):
        names += f" --precision {named.in_context.precision}"
    return remedy(ws, f"rank train {names}")


def trained(ws: Workspace, named: RankerConfig) -> RankerConfig:
    """The configuration that the named run was trained with.

    Raises:
        UsageError: if its weights are of another data set, or of texts of another encoder.
        Missing: if there is none, or its inputs or code have changed since.
    """
    from ranking import weights

    folder, verb = run_folder(ws, named), run_remedy(ws, named)
    config = from_json(steps.require(folder, verb)["config"])
    weights.check(folder / weights.FILE, weights.origin(ws, config))
    if run_step(ws, config).current() is None:
        raise Missing(f"{folder} is older than its inputs or its code", verb)
    return config
