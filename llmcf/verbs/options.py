"""Options that verbs share, so that each reads and is explained the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from core import contracts
from core.contracts import FRAMEWORKS, ORDERS, RECIPES, RETRIEVAL_FRAMEWORKS
from core.data.kept import BUILT_IN


def _choices(values: tuple[str, ...]) -> str:
    return " | ".join(values)


Dataset = Annotated[str, typer.Option(help=f"Which data set: {_choices(BUILT_IN)}, or one of your own (`data add`).")]
Order = Annotated[
    str | None,
    typer.Option(help=f"How interactions are ordered and split: {_choices(ORDERS)}; the data set's own by default."),
]
AsOf = Annotated[str, typer.Option(help="Use only data before this day, 00:00 UTC (2026-01-31), or all: latest.")]
Recipe = Annotated[str, typer.Option(help=f"Under which rules: {_choices(RECIPES)}.")]
Framework = Annotated[str, typer.Option(help=f"How the LLM's knowledge enters: {_choices(FRAMEWORKS)}.")]
RetrievalFramework = Annotated[
    str, typer.Option("--framework", help=f"How the LLM's knowledge enters: {_choices(RETRIEVAL_FRAMEWORKS)}.")
]
TowerFramework = Annotated[
    str | None,
    typer.Option(
        "--retriever-framework",
        help=f"Of the retriever: {_choices(RETRIEVAL_FRAMEWORKS)}; what goes with the ranker's if not given.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random in this verb.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only estimate time, memory and disk.")]
Source = Annotated[
    Path | None,
    typer.Option(help="Folder of raw files: the official ones, prepared Parquet tables, or with a `dataset.toml`."),
]
Precision = Annotated[
    str,
    typer.Option(help="Of tuning's matrix products: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16."),
]
Processes = Annotated[int, typer.Option(help="Processes of torchrun on a machine, one a device.", min=1)]
Nodes = Annotated[int, typer.Option(help="Machines; LLMCF_RENDEZVOUS says where they meet.", min=1)]
Join = Annotated[bool, typer.Option("--join", help="Take part in a run that another machine leads.")]
PackName = Annotated[str, typer.Option("--name", help="What to call the pack.")]
Pack = Annotated[str, typer.Option(help="A pack of llm/packs.")]
Epochs = Annotated[int | None, typer.Option(help="At most so many epochs; the recipe's number if not given.", min=1)]

DATASET = "movielens-100k"
ORDER = None
AS_OF = "latest"
RECIPE = RECIPES[0]
PRECISION = "auto"
SEED = contracts.SEED
Release = Annotated[
    int | None, typer.Option("--release", help="Number of a release; the live one if not given.", min=1)
]
CotSet = Annotated[
    str, typer.Option("--set", help="A named set of texts beside the main one, such as base or paper; empty: the main.")
]
