"""Fields of a user's files as they are meant: ids, texts, ages, genders. What is not read is counted, by kind."""

import re
from collections.abc import Callable, Iterable
from datetime import date

import polars as pl

from core.data.events import PLACEHOLDERS
from core.data.intake import Notes
from core.errors import UsageError

_AGES = range(1, 121)
_AGE = re.compile(r"(\d{1,3})(?:[.,]\d*)?\s*(?:years?|yrs?|y|yo|y/o|ans|años|jahre)?(?: old)?\.?", re.IGNORECASE)
_YEAR = re.compile(r"(?:18|19|20)\d\d(?:\.0*)?(?:-\d\d-\d\d.*)?")
_RANGE = re.compile(r"\d{1,3}\s*(?:-|–|to|bis)\s*\d{1,3}|\d{1,3}\s*\+|[<>]\s*\d{1,3}")
_GENDERS = {
    "M": ("m", "male", "man", "men", "boy", "masculine", "mann", "männlich", "maennlich", "homme", "masculin"),
    "F": ("f", "female", "woman", "women", "girl", "feminine", "w", "frau", "weiblich", "femme", "féminin"),
}
_GENDER = {word: code for code, words in _GENDERS.items() for word in words}
_LARGEST = 3.4e38  # of a rating, which is kept as float32
_SAMPLES = 2

Read = Callable[[str], tuple[object, str]]  # the value, or None and the kind of what is not read


def id_column(column: pl.Series, place: str) -> pl.Series:
    """A column of ids as text that `events.id_of` judges; what it would refuse one by one is refused whole.

    Raises:
        UsageError: for a type that holds no ids; `place` names the file and the column.
    """
    kind = column.dtype
    if kind.is_temporal() or kind == pl.Boolean:
        raise UsageError(f"{place} holds {kind}; want ids: texts or whole numbers")
    if kind.is_integer() or kind.is_float():
        return _numbers_as_text(column)
    return _plain(column, place)


def text(column: pl.Series, place: str) -> pl.Series:
    """A column as text, whole numbers without a fraction.

    Raises:
        UsageError: for lists and structures.
    """
    found = _plain(column, place).str.strip_suffix("\0")  # which marks what no id may be
    return found.str.replace(r"^([+-]?\d+)\.0+$", "$1") if column.dtype.is_numeric() else found


def labels(column: pl.Series, separator: str | None, place: str) -> pl.Series:
    """A column of texts, or of lists of them, as lists of texts; a text is taken apart at the separator, if any.

    Raises:
        UsageError: for lists of lists, and structures.
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.List:
        if (inner := column.explode()).dtype == pl.Binary:
            cells = column.to_list()
            texts = [None if cell is None else [part.decode("utf-8", "replace") for part in cell] for cell in cells]
            return pl.Series(column.name, texts, dtype=pl.List(pl.String))
        if inner.dtype != pl.String:
            _plain(inner.clear(), place)
        return column.cast(pl.List(pl.String))
    found = _plain(column, place).to_frame("text")
    whole = pl.col("text").str.split(separator) if separator else pl.concat_list("text")
    return found.select(whole)["text"]


def _plain(column: pl.Series, place: str) -> pl.Series:
    kind = column.dtype
    if kind.is_nested() or kind == pl.Object:
        raise UsageError(f"{place} holds {kind}; want one text or number a row")
    if kind == pl.Binary:
        return pl.Series(column.name, [None if v is None else _bytes(v) for v in column.to_list()], dtype=pl.String)
    return column.cast(pl.String)


def _numbers_as_text(column: pl.Series) -> pl.Series:
    """Whole numbers as digits; what is no whole number, or has lost digits, as a text that no id may be."""
    if column.dtype.is_integer():
        return column.cast(pl.String)
    exact = 2.0 ** (24 if column.dtype == pl.Float32 else 53)
    whole = column.is_finite() & (column == column.floor()) & (column.abs() < exact)
    shown = column.cast(pl.Int64, strict=False).cast(pl.String)
    name = column.name
    frame = pl.DataFrame({"value": column, "whole": whole, "shown": shown})
    marked = pl.col("value").cast(pl.String) + "\0"
    found = pl.when(pl.col("value").is_null() | pl.col("value").is_nan()).then(None)
    return frame.select(found.when("whole").then(pl.col("shown")).otherwise(marked).alias(name))[name]


def ages(table: pl.DataFrame, notes: Notes) -> pl.Expr | pl.Series:
    """`age` in years, null where nothing is said or what is said is no age."""
    return _read(table, "age", pl.Int32, read_age, notes)


def genders(table: pl.DataFrame, notes: Notes) -> pl.Expr | pl.Series:
    """`gender` as M or F, null otherwise."""
    return _read(table, "gender", pl.String, read_gender, notes)


def numbers(table: pl.DataFrame, name: str, notes: Notes) -> pl.Expr | pl.Series:
    """A column of numbers, null where there is none."""
    return _read(table, name, pl.Float32, read_number, notes)


def read_age(said: str) -> tuple[int | None, str]:
    """(24, "") of "24.0" or "24 years"; (None, a kind) of what is no age."""
    if _placeholder(said):
        return None, "placeholder"
    if _RANGE.fullmatch(said):
        return None, "a range"
    if _YEAR.fullmatch(said) and int(said[:4]) <= date.today().year:
        return None, "a year of birth"
    found = _AGE.fullmatch(said)
    if found is None:
        return None, "no number"
    return (int(found[1]), "") if int(found[1]) in _AGES else (None, "out of range")


def read_gender(said: str) -> tuple[str | None, str]:
    """("F", "") of "Female"; (None, a kind) of what is neither M nor F."""
    if _placeholder(said):
        return None, "placeholder"
    code = _GENDER.get(said.casefold())
    return (code, "") if code else (None, "neither male nor female")


def read_number(said: str) -> tuple[float | None, str]:
    """(4.5, "") of "4.5" or "4,5"."""
    if _placeholder(said):
        return None, "placeholder"
    try:
        number = float(said.replace(",", "."))
    except ValueError:
        return None, "no number"
    return (number, "") if abs(number) <= _LARGEST else (None, "out of range")


def placeholder_ids(events: pl.DataFrame) -> Iterable[str]:
    """Warnings of ids that often stand for nobody."""
    for name in ("user", "item"):
        for value, count in _placeholders(events, name):
            yield f"{count:,} interactions have the {name} {value!r}, which often stands for none"


def placeholder_texts(table: pl.DataFrame, names: Iterable[str]) -> Iterable[str]:
    """Warnings of texts that often stand for nothing."""
    for name in names:
        for value, count in _placeholders(table, name):
            yield f"{count:,} times the {name} is {value!r}, which often stands for nothing; it is kept as it is"


def _placeholders(table: pl.DataFrame, name: str) -> list[tuple[str, int]]:
    said = table[name].drop_nulls()
    hit = said.filter(said.str.strip_chars().str.to_lowercase().is_in(list(PLACEHOLDERS)))
    return hit.value_counts(sort=True).rows()[:_SAMPLES] if len(hit) else []


def _placeholder(said: str) -> bool:
    return said.casefold() in PLACEHOLDERS


def _read(table: pl.DataFrame, name: str, kind: type[pl.DataType], read: Read, notes: Notes) -> pl.Expr | pl.Series:
    if name not in table.columns:
        return pl.lit(None, kind).alias(name)
    said = table[name].cast(pl.String).str.strip_chars()
    known: dict[str, object] = {}
    for value, count in said.filter(said != "").value_counts(sort=True).rows():
        known[value], why = read(value)
        if why:
            notes.of(f"{_TABLE.get(name, 'users')}.{name}").add(why, value, count)
    return pl.Series(name, [known.get(value) for value in said.to_list()], dtype=kind)


_TABLE = {"rating": "interactions"}


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace") + "\0"  # which no id may hold
