"""Serving's replica of an example collection: read once a release, searched exactly in memory, without torch.

Milvus Lite takes tens of milliseconds for one filtered query, a request needs one for each of its candidates; a
contract test proves that Milvus, the exact search of training and this one give the same examples.

What it shows is decided in ict/shown.py. Suffixes: M examples + 1, V items, E width of a text vector, C candidates, K
examples, L history length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.contracts import EXAMPLES, RECIPES
from core.errors import LlmcfError, check_choice
from ict.milvus import Collection
from ict.nearest import NearestExamples
from ict.shown import Showing, Shown, Who, groups

_NEVER = np.iinfo(np.int64).max  # the day of "no example": later than every request
_NONE = {"user": 0, "item": 0, "position": 0, "day": _NEVER, "label": 0}  # what "no example" says in a column
COLUMNS = (*_NONE, "text", "key")
"""What a replica reads of a collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How a graph's examples are chosen: the fields of the same name of `ict.neighbours.NeighbourConfig`."""

    recipe: str
    seed: int
    count: int = EXAMPLES
    constrained: bool = True

    def __post_init__(self) -> None:
        check_choice("recipe", self.recipe, RECIPES)

    @property
    def labels(self) -> int:
        """How many groups share `count`: the two labels, or one of all examples."""
        return 2 if self.constrained else 1


@dataclass(frozen=True, slots=True)
class Stored:
    """What a collection holds of its examples; row 0 means "no example". Integers are int64, `key_MX` is (M, 2E)."""

    user_M: np.ndarray
    item_M: np.ndarray
    position_M: np.ndarray
    day_M: np.ndarray
    label_M: np.ndarray
    key_MX: np.ndarray
    texts: list[str]

    @classmethod
    def read(cls, collection: Collection) -> "Stored":
        """All rows of a version, through its open connection."""
        return cls.of(collection.read(COLUMNS))

    @classmethod
    def of(cls, rows: Mapping[str, np.ndarray]) -> "Stored":
        """The rows of a version by `COLUMNS`, as it holds them."""
        columns = {f"{name}_M": np.append(none, rows[name].astype(np.int64)) for name, none in _NONE.items()}
        key_MX = np.pad(rows["key"].astype(np.float32, copy=False), ((1, 0), (0, 0)))
        return cls(**columns, key_MX=key_MX, texts=["", *rows["text"].tolist()])


class ServingReplica:
    """A collection in memory. Safe to share between threads; holds no connection.

    In every method `position` is the number of the user's interactions so far, and `day` that of the request.

    Args:
        item_vectors_VE: those that the keys of `stored` were made of.

    Raises:
        LlmcfError: if they cannot be, because their widths do not fit.
    """

    def __init__(
        self, stored: Stored, item_vectors_VE: np.ndarray, *, ranking: Selection, retrieval: Selection
    ) -> None:
        if stored.key_MX.shape[1] != 2 * item_vectors_VE.shape[1]:
            raise LlmcfError(
                f"the examples have keys of {stored.key_MX.shape[1]} numbers, and the release's item vectors have "
                f"{item_vectors_VE.shape[1]}: they are of another encoder; make the release again"
            )
        self.stored = stored
        made = {one.constrained: _search(stored, item_vectors_VE, one) for one in (ranking, retrieval)}
        self._ranking, self._retrieval = (showing(stored, made[one.constrained], one) for one in (ranking, retrieval))

    def prepare(self) -> None:
        """Do at once, in seconds, what the first request for each item would do: for a process that serves."""
        self._ranking.search.prepare()

    def for_ranking(self, *, user: int, position: int, day: int, history_L: np.ndarray, items_C: np.ndarray) -> Shown:
        """The examples of each candidate of one user."""
        return self._ranking.of_items(Who(user=user, position=position, day=day, history_L=history_L), items_C)

    def for_new_items(self, *, user: int, position: int, day: int, history_L: np.ndarray, text_CE: np.ndarray) -> Shown:
        """The same for items that came after the release, by the encoder's vectors of their texts, (C, E).

        Every example is scored for each, so they should be few.
        """
        return self._ranking.of_texts(Who(user=user, position=position, day=day, history_L=history_L), text_CE)

    def for_retrieval(self, *, user: int, position: int, day: int, history_L: np.ndarray) -> Shown:
        """The examples of the user as such, (1, K)."""
        return self._retrieval.of_history(Who(user=user, position=position, day=day, history_L=history_L))

    def evidence(self, number: int) -> dict[str, Any]:
        """Who and what example `number` is about, with its text."""
        stored = self.stored
        return {
            "example": number,
            "user": int(stored.user_M[number]),
            "position": int(stored.position_M[number]),
            "item": int(stored.item_M[number]),
            "label": int(stored.label_M[number]),
            "day": int(stored.day_M[number]),
            "text": stored.texts[number],
        }


def showing(stored: Stored, search: NearestExamples, chosen: Selection) -> Showing:
    """What `chosen` says of the examples that a search holds."""
    return Showing(
        search=search,
        user_M=stored.user_M,
        position_M=stored.position_M,
        day_M=stored.day_M,
        recipe=chosen.recipe,
        seed=chosen.seed,
        per_group=chosen.count // chosen.labels,
    )


def _search(stored: Stored, item_vectors_VE: np.ndarray, chosen: Selection) -> NearestExamples:
    grouped = groups(stored.label_M, constrained=chosen.constrained)
    return NearestExamples(stored.key_MX, stored.item_M, item_vectors_VE, grouped)
