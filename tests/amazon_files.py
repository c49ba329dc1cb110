"""Amazon tables in both layouts: UCSD's official files, and the prepared Parquet copy."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from core.settings import Workspace
from tests.official_files import prepared

DAY = 86_400
REVIEWS, META = "reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"


def write_lines(path: Path, lines: Sequence[str | bytes]) -> None:
    with gzip.open(path, "wb") as out:
        for line in lines:
            out.write((line.encode() if isinstance(line, str) else line) + b"\n")


def review(user: str, item: str, time: Any, **more: Any) -> str:
    return json.dumps(
        {"reviewerID": user, "asin": item, "overall": 5.0, "reviewText": "it's", "unixReviewTime": time} | more
    )


def official(folder: Path, reviews: Sequence[str | bytes], meta: Sequence[str | bytes] = ()) -> Path:
    """A `--source` folder with the two official files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / REVIEWS, reviews)
    write_lines(folder / META, meta)
    return folder


def reviewed(ws: Workspace, folder: Path) -> Workspace:
    """`ws` of Beauty, with training rows: twelve people who take nine things, three a day; each review is one word."""
    lines = [
        review(f"A{user}", f"B{(user + turn) % 15}", 1_300_000_000 + turn // 3 * DAY, reviewText=f"said{user}x{turn}")
        for user in range(12)
        for turn in range(9)
    ]
    things = [f'{{"asin": "B{n}", "title": "Thing {n}", "categories": [["Beauty", "Bath"]]}}' for n in range(15)]
    return prepared(ws, official(folder, lines, things))


def official_of(prepared: Path, folder: Path, users: int, *, literal: bool) -> Path:
    """The first `users` users of a prepared Parquet folder as official files, in another order of lines.

    Args:
        literal: write metadata as Python literals, as UCSD does, instead of JSON.
    """
    events, items, names = (
        pl.read_parquet(prepared / f"{name}.parquet") for name in ("interactions", "items", "users")
    )
    events = events.filter(pl.col("user") <= users).join(items.select("item", "asin"), on="item").join(names, on="user")
    reviews = [review(row["reviewerID"], row["asin"], row["timestamp"]) for row in events.sort("asin").to_dicts()]
    meta = [
        {name: row[name] for name in ("asin", "title", "brand")} | {"categories": [["Beauty", *row["categories"]]]}
        for row in items.to_dicts()
    ]
    kept = [{name: value for name, value in row.items() if value is not None} for row in meta]
    return official(folder, reviews, [repr(row) if literal else json.dumps(row) for row in kept])


def prepared_of(prepared: Path, folder: Path, users: int) -> Path:
    """The same users in the prepared layout."""
    target = folder / "amazon" / "Beauty"
    target.mkdir(parents=True)
    for name in ("interactions", "items", "users"):
        table = pl.read_parquet(prepared / f"{name}.parquet")
        table = table if name == "items" else table.filter(pl.col("user") <= users)
        table.write_parquet(target / f"{name}.parquet")
    return folder
