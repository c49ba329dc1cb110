"""The names of data sets, and the descriptions of those that users added: `<home>/<name>/dataset.json`.

A kept description says where the files are and what is what in them, so that every verb takes the name alone.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import settings
from core.contracts import ORDERS
from core.errors import UsageError

BUILT_IN = ("movielens-100k", "amazon-beauty", "amazon-sports", "amazon-toys")
LONGEST = 40
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILE = "dataset.json"
_OURS = frozenset(  # folders of the home that are no data sets
    [
        "airflow",
        "alerts",
        "cot-cache",
        "downloads",
        "models",
        "recgen-runs",
        "redis",
        "results",
        "runs",
        "service",
        "torch-extensions",
        "triton-models",
        "vector-cache",
        "wheels",
    ]
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an added data set: its TOML file (an absolute path), and what that said."""

    source: str
    description: dict[str, Any]


def names() -> tuple[str, ...]:
    """Every known name: the built-in ones, then those that were added to this home."""
    added = sorted(path.parent.name for path in settings.home().glob(f"*/{_FILE}"))
    return (*BUILT_IN, *(name for name in added if name not in BUILT_IN))


def check(name: str) -> str:
    """Return a known name.

    Raises:
        UsageError: otherwise, with the known ones and how to add one.
    """
    if name not in names():
        raise UsageError(
            f"unknown dataset {name!r}; choose one of: {', '.join(names())}; "
            "or add your own: llmcf data add NAME --source FOLDER"
        )
    return name


def check_new(name: str) -> str:
    """Return a name that a user may give: it becomes a folder, a prefix of Milvus collections and a Redis key.

    Raises:
        UsageError: for a name with other characters, a reserved one, or one that is too long.
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"a data set cannot be called {name!r}: want at most {LONGEST} lower-case letters, digits and single "
            "hyphens between them, a letter first, as in my-shop"
        )
    if name in BUILT_IN:
        raise UsageError(f"{name!r} is a built-in data set; give yours another name (built in: {', '.join(BUILT_IN)})")
    folder = settings.home() / name
    strange = folder.exists() and not any((folder / part).exists() for part in (_FILE, "vocabulary", *ORDERS))
    if name in _OURS or (strange and any(folder.iterdir() if folder.is_dir() else [folder])):
        raise UsageError(
            f"a data set cannot be called {name!r}: {folder} is kept for something else; take another name"
        )
    return name


def read(name: str) -> Kept | None:
    """What is kept of an added data set, or None."""
    path = place(name)
    return Kept(**json.loads(path.read_text(encoding="utf-8"))) if name not in BUILT_IN and path.exists() else None


def write(name: str, kept: Kept) -> None:
    """Keep a description, at once or not at all."""
    from core import storage

    storage.write_json(place(name), asdict(kept))


def default_order(name: str) -> str:
    """The order of verbs that are given none."""
    kept = read(name)
    return kept.description.get("order", ORDERS[0]) if kept else ORDERS[0]


def place(name: str) -> Path:
    """Where the description of a name is kept."""
    return settings.home() / name / _FILE
