"""A user's own data set: interactions, items and users in files that a small TOML file describes.

The description is a `dataset.toml`; a commented example is examples/shop/dataset.toml. Paths in it are relative to it.
`unit` says how times are written: s (Unix seconds), ms, us, ns, or iso (2026-01-31, 2026-01-31T12:00:00Z; without a
zone UTC is meant). `adopt` keeps it under a name, and from then on the name is enough.
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from core.contracts import ORDERS
from core.data import dataset, kept, people, sources, texts, times
from core.data.files import content
from core.data.files.table import Table, named
from core.data.intake import Notes
from core.data.kept import Kept
from core.data.rejects import Rejects, screen, screen_ids
from core.errors import UsageError, check_choice, unknown

FILE_NAME = "dataset.toml"
COUNTS = (100_000, 10_000, 10_000)
_FORM = ("encoding", "delimiter", "compression")
_KEYS = {  # of each table of the TOML file: required, then optional
    "interactions": (("file", "user", "item", "timestamp"), ("rating", "comment", "unit", *_FORM)),
    "items": (("file", "item"), ("title", "brand", "categories", "separator", *_FORM)),
    "users": (("file", "user"), ("age", "gender", "occupation", *_FORM)),
    "words": ((), ("item", "items", "chose", "purpose")),
}
_TOP = ("order", *_FORM)  # of the whole file; a form there holds for every table that says nothing else
_TABLES = ("interactions", "items", "users")
_NO_COLUMNS = ("file", "unit", "separator", *_FORM)
_PLAIN_WORDS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")
_WORD_LENGTH = 30

Description = dict[str, Any]


def dataset_of(name: str, known: Kept) -> dataset.Dataset:
    """The data set that is kept under `name`."""
    said = {table: known.description[table] for table in _TABLES if table in known.description}
    return dataset.Dataset(
        files=lambda _: files(name, known),
        read=lambda _: read(Path(known.source).parent, said),
        code=(),  # `prepare` names all that reads it
        counts=COUNTS,
        live=True,
        words=dataset.Words(**known.description.get("words", {})),
        order=known.description.get("order", ORDERS[0]),
        said=said,
    )


def adopt(name: str, source: Path) -> list[str]:
    """Keep the description at `source` (the TOML file, or its folder) under `name`; what is new or has changed.

    Raises:
        UsageError: for a name that cannot be given, or a description that does not fit its files.
    """
    kept.check_new(name)
    path = (source / FILE_NAME if source.is_dir() else source).absolute()
    new, old = Kept(str(path), described(path)), kept.read(name)
    _check_columns(path, new.description)
    if new == old:
        return []
    kept.write(name, new)
    return _changes(old, new) if old else [f"added; its description is {path}"]


def files(name: str, known: Kept) -> list[Path]:
    """The files of a kept data set, in the order of its tables.

    Raises:
        UsageError: if they or the description are not where they were, or the description says something else now.
    """
    path, again = Path(known.source), f"llmcf data add {name} --source FOLDER"
    if not path.is_file():
        raise UsageError(f"the description of {name}, {path}, is missing; say where it is now: {again}")
    if (now := described(path)) != known.description:
        changes = "; ".join(_changes(known, Kept(known.source, now)))
        raise UsageError(f"{path} has changed since {name} was added ({changes}); to take that: {again}")
    return [part for table in _TABLES if table in now for part in _parts(path, now[table]["file"])]


def read(folder: Path, said: Description) -> dataset.RawTables:
    """The raw tables of the files in `folder` that a description's tables name."""
    rejects, notes = Rejects(), Notes()
    found = _opened(folder, said, rejects, notes)
    unit = said["interactions"].get("unit", "s")
    events = times.seconds(found["interactions"], unit, rejects, said["interactions"]["file"])
    events = screen(events, rejects).sort("timestamp", maintain_order=True)
    notes.warnings += people.placeholder_ids(events)
    items = _items(found["items"], notes, rejects) if "items" in found else None
    users = _users(found["users"], notes, rejects) if "users" in found else None
    ratings = people.numbers(events, "rating", notes)
    comments = _comments(events, notes)
    return dataset.RawTables(
        events.select("user", "item", "timestamp", ratings).to_arrow().cast(dataset.INTERACTIONS),
        dataset.ITEMS.empty_table() if items is None else items.to_arrow().cast(dataset.ITEMS),
        dataset.USERS.empty_table() if users is None else users.to_arrow().cast(dataset.USERS),
        rejects,
        notes,
        comments.to_arrow().cast(dataset.COMMENTS),
    )


def described(path: Path) -> Description:
    """What a description says, checked.

    Raises:
        UsageError: if it is missing, no TOML file, or says something else than it may.
    """
    try:
        found = tomllib.loads(content.decoded(path, path.read_bytes(), "", remedy="save it as UTF-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; it says which columns are what: see examples/shop/{FILE_NAME}") from None
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise UsageError(f"{path} is no TOML file: {error}") from None
    if "interactions" not in found:
        raise UsageError(f"{path} has no table [interactions]")
    for name, value in found.items():
        if name in _TOP:
            _check_text(path, name, value, "the head")
        elif name not in _KEYS:
            raise unknown(f"table or key in {path}", name, (*_KEYS, *_TOP))
        elif not isinstance(value, dict):
            raise UsageError(f"{path}: {name} is {value!r:.80}; want one table [{name}]")
        else:
            _check_keys(path, name, value)
    check_choice(f"unit in {path}", found["interactions"].get("unit", "s"), times.UNITS)
    check_choice(f"order in {path}", found.get("order", ORDERS[0]), ORDERS)
    form = {key: found[key] for key in _FORM if key in found}
    tables = {name: {**form, **found[name]} for name in _TABLES if name in found}
    for name, table in tables.items():
        _form(table).check(f"[{name}] of {path}")
    return {**tables, **{name: found[name] for name in ("words", "order") if name in found}}


def _check_keys(path: Path, name: str, table: Description) -> None:
    required, optional = _KEYS[name]
    for key, value in table.items():
        if key not in (*required, *optional):
            raise unknown(f"key in [{name}] of {path}", key, (*required, *optional))
        _check_text(path, key, value, f"[{name}]")
        if name == "words" and not (_PLAIN_WORDS.fullmatch(value) and len(value) <= _WORD_LENGTH):
            raise UsageError(
                f"{path}: {key} in [words] is {value!r}; want plain words of at most {_WORD_LENGTH} letters"
            )
    if missing := [key for key in required if key not in table]:
        raise UsageError(f"{path}: [{name}] lacks {', '.join(missing)}")


def _check_text(path: Path, key: str, value: object, place: str) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{path}: {key} in {place} is {value!r:.80}; want text")


def _changes(old: Kept, new: Kept) -> list[str]:
    """What another description says differently, a phrase each."""
    found = [] if old.source == new.source else [f"its description was {old.source}, is {new.source}"]
    before, after = _flat(old.description), _flat(new.description)
    for key in dict.fromkeys([*before, *after]):
        was, now = before.get(key), after.get(key)
        if was != now:
            was, now = ("not said" if value is None else repr(value) for value in (was, now))
            found.append(f"{key} was {was}, is {now}")
    return found


def _flat(description: Description) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in description.items():
        flat |= {f"[{name}] {key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _form(table: Description) -> sources.Form:
    return sources.Form(**{key: table[key] for key in _FORM if key in table})


def _parts(path: Path, file: str) -> list[Path]:
    place = path.parent / file
    try:
        place.stat()
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UsageError(f"{place} {why}; {path} names it") from None
    return sources.parts(place)


def _columns(table: Description) -> dict[str, str]:
    return {ours: theirs for ours, theirs in table.items() if ours not in _NO_COLUMNS}


def _check_columns(path: Path, description: Description) -> None:
    for name in _TABLES:
        if table := description.get(name):
            place = _parts(path, table["file"])[0]
            _require(place, sources.header(path.parent / table["file"], table["file"], _form(table)), table)


def _require(path: Path, columns: Sequence[str], table: Description) -> None:
    for theirs in _columns(table).values():
        if theirs not in columns:
            apart = [sign for sign in (";", "\t", "|", ",") if len(columns) == 1 and sign in columns[0]]
            hint = f"; if fields are separated by {apart[0]!r}, say delimiter = {apart[0]!r}" if apart else ""
            raise UsageError(f"{path} has no column {theirs!r}; it has {named(columns)}{hint}")


def _opened(folder: Path, said: Description, rejects: Rejects, notes: Notes) -> dict[str, pl.DataFrame]:
    """Each table's named columns under our names, with `file` and `line`; a file that serves twice is read once."""
    found: dict[tuple[str, sources.Form], list[Table]] = {}
    tables = {}
    for name, table in said.items():
        key = (table["file"], _form(table))
        if key not in found:
            found[key] = sources.read(folder / table["file"], table["file"], key[1])
            for part in found[key]:
                _count(part, rejects, notes, interactions=name == "interactions")
        for part in found[key]:
            _require(folder / part.name, part.frame.columns, table)
        parts = [_chosen(part, table) for part in found[key]]
        if name == "interactions":
            parts = times.alike(parts, table.get("unit", "s"))
        tables[name] = pl.concat(parts, how="vertical_relaxed")
    return tables


def _count(part: Table, rejects: Rejects, notes: Notes, *, interactions: bool) -> None:
    notes.rows[part.name] = part.count
    if interactions:
        rejects.lines += part.count
    else:
        rejects.others[part.name] = part.count
    for line, kind, text in part.bad:
        rejects.add(part.name, line, kind, text)


def _chosen(part: Table, table: Description) -> pl.DataFrame:
    """The columns of one part, each of the same type in every part, whatever its file stores."""
    chosen = {}
    for ours, theirs in _columns(table).items():
        column, place = part.frame[theirs], f"{part.name}: the column {theirs!r}"
        if ours in ("user", "item"):
            chosen[ours] = people.id_column(column, place)
        elif ours == "timestamp":
            chosen[ours] = times.column(column, place)
        elif ours == "categories":
            chosen[ours] = people.labels(column, table.get("separator"), place)
        else:
            chosen[ours] = people.text(column, place)
    return pl.DataFrame(chosen).with_columns(file=pl.lit(part.name), line=part.lines)


def _comments(events: pl.DataFrame, notes: Notes) -> pl.DataFrame:
    """What there is of comments, one a row at most."""
    said = events.select("user", "item", "timestamp", _column("comment", events)).drop_nulls()
    notes.warnings += people.placeholder_texts(said, ["comment"])
    text = pl.Series("text", [texts.comment(None, one) for one in said["comment"]], dtype=pl.String)
    return said.select("user", "item", "timestamp", text).filter(pl.col("text") != "")


def _items(table: pl.DataFrame, notes: Notes, rejects: Rejects) -> pl.DataFrame:
    table = screen_ids(table, "item", rejects, lambda row: {"item": row["item"]})
    labels = pl.col("categories") if "categories" in table.columns else pl.lit([], pl.List(pl.String))
    labels = labels.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
    found = table.select(
        pl.col("item").alias("raw_id"),
        _column("title", table),
        _column("brand", table),
        labels.list.unique(maintain_order=True).alias("categories"),
    ).unique("raw_id", keep="first", maintain_order=True)
    notes.warnings += people.placeholder_texts(found, ("title", "brand"))
    return found


def _users(table: pl.DataFrame, notes: Notes, rejects: Rejects) -> pl.DataFrame:
    table = screen_ids(table, "user", rejects, lambda row: {"user": row["user"]})
    table = table.unique("user", keep="first", maintain_order=True)
    found = table.select(
        pl.col("user").alias("raw_id"),
        people.ages(table, notes),
        people.genders(table, notes),
        _column("occupation", table),
    )
    notes.warnings += people.placeholder_texts(found, ("occupation",))
    return found


def _column(name: str, table: pl.DataFrame) -> pl.Expr:
    return pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name)
