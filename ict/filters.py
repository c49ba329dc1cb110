"""What a search may return: one typed filter, in Milvus's language and as a mask for an exact search.

Both must let the same rows through; a test holds them equal on random worlds. Values reach an expression as literals of
whole numbers that were checked; text never does.

Suffixes: N rows of a collection, C categories an item.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import numpy as np

from core.contracts import PAD
from core.errors import UsageError

Numbers = Sequence[int] | np.ndarray  # kept as a tuple of Python integers
Columns = Mapping[str, np.ndarray]  # int64 (N,) by name; `categories` (N, C), padded with PAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions that a row must all meet; one that is None asks nothing.

    Args:
        allow: ids, and no others. An empty tuple leaves nothing.
        deny: ids that must not come up: what a user has taken, what is not to be sold.
        categories: of items: in at least one of these.
        on_sale: of items: first taken on a day strictly before this one; what nobody has taken is not.
        before: of examples: of a day strictly before this one (the leak rule).
        label: of examples: 1 or 0.
        seen_from: of examples, recipe `paper`: a user and a position; this user's later positions are left out.

    Raises:
        UsageError: for a value that is no whole number, or a label that is neither 1 nor 0.
    """

    allow: Numbers | None = None
    deny: Numbers = ()
    categories: Numbers | None = None
    on_sale: int | None = None
    before: int | None = None
    label: int | None = None
    seen_from: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("allow", "deny", "categories", "seen_from"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _whole_numbers(name, value))
        for name in ("on_sale", "before", "label"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _whole_numbers(name, [value])[0])
        if self.label not in (None, 0, 1):
            raise UsageError(f"label {self.label} of a filter is neither 1 nor 0")
        if self.seen_from is not None and len(self.seen_from) != 2:
            raise UsageError(f"seen_from {self.seen_from} of a filter is no user and position")

    @property
    def asks_nothing(self) -> bool:
        return self == Filter()

    def expression(self) -> str:
        """In Milvus's filter language; empty where nothing is asked."""
        return " and ".join(self._terms())

    def mask(self, columns: Columns) -> np.ndarray:
        """True where a row may be returned, (N,).

        Raises:
            UsageError: if the rows lack a column that is asked for.
        """
        parts = list(self._masks(columns))
        return reduce(np.logical_and, parts) if parts else np.ones(len(columns["id"]), dtype=bool)

    def reads(self) -> set[str]:
        """The columns that it looks at."""
        asked = (one.name for one in fields(self) if getattr(self, one.name) != one.default)
        return set().union(*(_READS[name] for name in asked))

    def _terms(self) -> Iterator[str]:
        if self.allow is not None:
            yield f"id in {list(self.allow)}"
        if self.deny:
            yield f"id not in {list(self.deny)}"
        if self.categories is not None:
            yield f"array_contains_any(categories, {list(self.categories)})"
        if self.on_sale is not None:
            yield f"first_day < {self.on_sale}"
        if self.before is not None:
            yield f"day < {self.before}"
        if self.label is not None:
            yield f"label == {self.label}"
        if self.seen_from is not None:
            user, position = self.seen_from
            yield f"(user != {user} or position <= {position})"

    def _masks(self, columns: Columns) -> Iterator[np.ndarray]:
        if missing := sorted(self.reads() - set(columns)):
            raise UsageError(
                f"these rows have no {', '.join(missing)}, which the filter ({self.expression()}) asks for; publish "
                "their index again"
            )
        if self.allow is not None:
            yield np.isin(columns["id"], np.array(self.allow, dtype=np.int64))
        if self.deny:
            yield ~np.isin(columns["id"], np.array(self.deny, dtype=np.int64))
        if self.categories is not None:
            wanted = np.setdiff1d(np.array(self.categories, dtype=np.int64), [PAD])
            yield np.asarray(np.isin(columns["categories"], wanted).any(axis=1))
        if self.on_sale is not None:
            yield columns["first_day"] < self.on_sale
        if self.before is not None:
            yield columns["day"] < self.before
        if self.label is not None:
            yield columns["label"] == self.label
        if self.seen_from is not None:
            user, position = self.seen_from
            yield (columns["user"] != user) | (columns["position"] <= position)


_READS = {
    "allow": {"id"},
    "deny": {"id"},
    "categories": {"categories"},
    "on_sale": {"first_day"},
    "before": {"day"},
    "label": {"label"},
    "seen_from": {"user", "position"},
}


def _whole_numbers(name: str, values: Iterable[Any]) -> tuple[int, ...]:
    """As Python integers of 64 bits: what an expression may hold."""
    found = np.asarray(values if isinstance(values, np.ndarray) else list(values))
    if found.size and (found.dtype.kind not in "iu" or found.ndim != 1 or found.max() > np.iinfo(np.int64).max):
        raise UsageError(f"{name} of a filter takes whole numbers, not {_short(values)}")
    return tuple(found.astype(np.int64).tolist())


def _short(values: Iterable[Any]) -> str:
    text = repr(list(values))
    return text if len(text) <= 80 else text[:77] + "..."
