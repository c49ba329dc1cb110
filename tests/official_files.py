"""A small world in MovieLens' official format: two tastes, ties in time, popular and rare items."""

from pathlib import Path

import numpy as np

from core import schemas, steps, storage
from core.data import asof, features, tables
from core.data.movielens import GENRES
from core.data.prepare import prepare
from core.settings import Workspace

USERS, ITEMS = 40, 60
START = 875_232_000  # 1997-09-26 00:00 UTC
DAYS = 120


def write(folder: Path, *, users: int = USERS, items: int = ITEMS, seed: int = 0) -> Path:
    """Write u.data, u.item and u.user; users take 6 to 30 items, mostly of their own half of the catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    _lines(folder / "u.user", [f"{u}|{18 + u % 50}|{'MF'[u % 2]}|{_JOBS[u % 4]}|{10_000 + u}" for u in _ids(users)])
    _lines(folder / "u.item", [_item(i) for i in _ids(items)])
    ratings = [line for user in _ids(users) for line in _ratings(user, items, rng)]
    _lines(folder / "u.data", [ratings[place] for place in rng.permutation(len(ratings))])
    return folder


def prepared(ws: Workspace, source: Path) -> Workspace:
    """The workspace with data/, features/ and training/, its training rows from the reference instead of Feast."""
    prepare(ws, source=source, seed=7)
    features.build(ws)

    def work(folder: Path) -> dict[str, int]:
        joined = asof.attach(tables.rows(ws), tables.interactions(ws), tables.items(ws))
        storage.write_table(folder / "rows.parquet", joined, schemas.TRAINING_ROWS)
        return {"rows": joined.num_rows}

    steps.run(steps.Step(folder=ws.path("training"), config={}, inputs=[ws.path("data")]), work)
    return ws


_JOBS = ("technician", "writer", "other", "none")


def _ids(count: int) -> range:
    return range(1, count + 1)


def _item(item: int) -> str:
    flags = ["0"] * len(GENRES)
    for genre in (1 + item % 2, 3 + item % 7):
        flags[genre] = "1"
    title = f"Story {item}, The" if item % 5 == 0 else f"Tale of {item}"
    return "|".join([str(item), f"{title} ({1970 + item % 9})", "01-Jan-1970", "", "", *flags])


def _ratings(user: int, items: int, rng: np.random.Generator) -> list[str]:
    """Half of the days hold several interactions, some of them in the same second."""
    weight = np.where(np.arange(items) % 2 == user % 2, 8.0, 1.0) / (1 + np.arange(items)) ** 0.5
    taken = rng.choice(items, size=int(rng.integers(6, 31)), replace=False, p=weight / weight.sum())
    days = rng.choice(rng.integers(0, DAYS, size=8), size=len(taken))
    seconds = START + days * 86_400 + rng.integers(0, 4, size=len(taken)) * 3_600
    return [f"{user}\t{item + 1}\t{rng.integers(1, 6)}\t{time}" for item, time in zip(taken, seconds, strict=True)]


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")
