"""A trained retrieval model on disk: building it, saving it, reading it back."""

from pathlib import Path

import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.contracts import FIRST_ID
from core.data import tables
from core.settings import Workspace
from ict.examples import ExampleSet, Requests
from ict.neighbours import NeighbourConfig, neighbours
from retrieval_stage.objective import Shown
from retrieval_stage.recipes import RetrievalConfig
from retrieval_stage.runs import train_step
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower

WEIGHTS = "model.safetensors"


def example_set(ws: Workspace, config: RetrievalConfig, rows: pa.Table) -> ExampleSet | None:
    """What examples there are, out of the training `rows`; None without LLM-CF."""
    return ExampleSet.load(ws, rows=rows) if config.framework == "llm-cf" else None


def shown_examples(
    ws: Workspace, config: RetrievalConfig, sequences: Sequences, rows: pa.Table, examples: ExampleSet | None
) -> Shown:
    """The in-context examples of every positive of the training `rows`; none without LLM-CF."""
    if examples is None:
        return Shown(torch.zeros(len(sequences), 0, dtype=torch.int64), torch.zeros(len(sequences), 0))
    how = NeighbourConfig(stage="retrieval", recipe=config.recipe, seed=config.seed)
    found = neighbours(ws, how, Requests.of(rows), examples)
    return Shown(found.examples_NK[sequences.row_N], found.similarity_NK[sequences.row_N])


def new_tower(ws: Workspace, config: RetrievalConfig, sequences: Sequences, examples: ExampleSet | None) -> UserTower:
    """An untrained tower of the workspace's sizes; `sequences` say which users it knows."""
    users, offered_V = len(tables.users(ws)) + FIRST_ID, torch.from_numpy(tables.items(ws)["offered"].to_numpy())
    return UserTower(
        config,
        known_U=_known_users(sequences, users),
        items=len(offered_V) + FIRST_ID,
        examples=examples,
        offered_V=offered_V,
    )


def save(tower: UserTower, folder: Path) -> None:
    save_file({name: values.contiguous() for name, values in tower.state_dict().items()}, folder / WEIGHTS)


def load(ws: Workspace, config: RetrievalConfig, sequences: Sequences, examples: ExampleSet | None) -> UserTower:
    """The tower of a finished run, its examples frozen, in evaluation mode."""
    tower = new_tower(ws, config, sequences, examples)
    tower.load_state_dict(load_file(train_step(ws, config).folder / WEIGHTS))
    tower.eval()
    tower.freeze_examples()
    return tower


def _known_users(sequences: Sequences, users: int) -> Tensor:
    """Which ids have training rows, (U,)."""
    known_U = torch.zeros(users, dtype=torch.bool)
    known_U[sequences.user_N[sequences.of_split("train")]] = True
    return known_U
