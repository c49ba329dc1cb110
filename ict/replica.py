"""Serving's replica of an example collection: read once a release, searched exactly in memory, without torch.

Milvus Lite takes tens of milliseconds for one filtered query, a request needs one for each of its candidates; a
contract test proves that Milvus, the exact search of training and this one give the same examples.

Suffixes: M examples + 1, V items, E width of a text vector, C candidates, K examples, L history length.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.contracts import EXAMPLES, RECIPES, UNKNOWN
from core.errors import LlmcfError, check_choice
from ict.filters import Filter
from ict.milvus import Collection
from ict.nearest import NOTHING, Found, NearestExamples

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_NEVER = np.iinfo(np.int64).max  # the day of "no example": later than every request
_NONE = {"user": 0, "item": 0, "position": 0, "day": _NEVER, "label": 0}  # what "no example" says in a column


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
        rows = collection.read([*_NONE, "text", "key"])
        columns = {f"{name}_M": np.append(none, rows[name].astype(np.int64)) for name, none in _NONE.items()}
        key_MX = np.pad(rows["key"].astype(np.float32, copy=False), ((1, 0), (0, 0)))
        return cls(**columns, key_MX=key_MX, texts=["", *rows["text"].tolist()])


@dataclass(frozen=True, slots=True)
class Shown:
    """The examples of C candidates, or of one user: numbers (C, K), 0 for none, and similarities (C, K)."""

    examples_CK: np.ndarray
    similarity_CK: np.ndarray

    def interleaved(self, other: "Shown", own_C: np.ndarray) -> "Shown":
        """These rows where `own_C` is true, the other's elsewhere, each in their order."""
        shape = len(own_C), self.examples_CK.shape[1]
        examples_CK = np.empty(shape, dtype=self.examples_CK.dtype)
        similarity_CK = np.empty(shape, dtype=self.similarity_CK.dtype)
        for part, at_C in ((self, own_C), (other, ~own_C)):
            examples_CK[at_C], similarity_CK[at_C] = part.examples_CK, part.similarity_CK
        return Shown(examples_CK, similarity_CK)


class ServingReplica:
    """The live collection in memory. Safe to share between threads; holds no connection.

    In every method `position` is the number of the user's interactions so far, and `day` that of the request.
    """

    def __init__(
        self, stored: Stored, item_vectors_VE: np.ndarray, *, ranking: Selection, retrieval: Selection
    ) -> None:
        self.stored = stored
        self._ranking, self._retrieval = ranking, retrieval
        made = {one.constrained: _search(stored, item_vectors_VE, one) for one in (ranking, retrieval)}
        self._of_ranking, self._of_retrieval = made[ranking.constrained], made[retrieval.constrained]

    @classmethod
    def read(
        cls,
        client: "MilvusClient",
        collection: str,
        item_vectors_VE: np.ndarray,
        *,
        ranking: Selection,
        retrieval: Selection,
    ) -> "ServingReplica":
        """Read a version through an open connection; `item_vectors_VE` are those that its keys were made of.

        Raises:
            LlmcfError: if they cannot be, because their widths do not fit.
        """
        opened = Collection.open(client, collection)
        if opened.widths["key"] != 2 * item_vectors_VE.shape[1]:
            raise LlmcfError(
                f"{collection} holds keys of {opened.widths['key']} numbers, and the release's item vectors have "
                f"{item_vectors_VE.shape[1]}: they are of another encoder; make the release again"
            )
        return cls(Stored.read(opened), item_vectors_VE, ranking=ranking, retrieval=retrieval)

    def prepare(self) -> None:
        """Do at once, in seconds, what the first request for each item would do: for a process that serves."""
        self._of_ranking.prepare()

    def for_ranking(self, *, user: int, position: int, day: int, history_L: np.ndarray, items_C: np.ndarray) -> Shown:
        """The examples of each candidate of one user."""
        chosen = self._ranking
        search, eligible_M = self._of_ranking, self._eligible(chosen, user, position, day)
        found = search.of_items(search.histories(history_L), eligible_M, items_C, chosen.count // chosen.labels)
        return _arranged(found, user, items_C, chosen.seed)

    def for_new_items(self, *, user: int, position: int, day: int, history_L: np.ndarray, text_CE: np.ndarray) -> Shown:
        """The same for items that came after the release, by the encoder's vectors of their texts, (C, E).

        Every example is scored for each, so they should be few.
        """
        chosen = self._ranking
        search, eligible_M = self._of_ranking, self._eligible(chosen, user, position, day)
        found = search.of_texts(search.histories(history_L), eligible_M, text_CE, chosen.count // chosen.labels)
        return _arranged(found, user, np.full(len(text_CE), UNKNOWN), chosen.seed)

    def for_retrieval(self, *, user: int, position: int, day: int, history_L: np.ndarray) -> Shown:
        """The examples of the user as such, (1, K)."""
        chosen = self._retrieval
        search, eligible_M = self._of_retrieval, self._eligible(chosen, user, position, day)
        found = search.of_history(search.histories(history_L), eligible_M, chosen.count // chosen.labels)
        return _arranged(found, user, np.zeros(1, dtype=np.int64), chosen.seed)

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

    def _eligible(self, chosen: Selection, user: int, position: int, day: int) -> np.ndarray:
        """Whom the request may be shown, (M,)."""
        stored = self.stored
        columns = {"user": stored.user_M, "position": stored.position_M, "day": stored.day_M}
        return rule(chosen.recipe, user, position, day).mask(columns)


def rule(recipe: str, user: int, position: int, day: int) -> Filter:
    """`ict.examples.rule` for one request of plain numbers, as long as that imports torch; a test holds them equal."""
    return Filter(seen_from=(user, position)) if recipe == "paper" else Filter(before=day)


def shuffled_order(examples_CK: np.ndarray, user: int, items_C: np.ndarray, seed: int) -> np.ndarray:
    """`ict.neighbours.shuffled_order` in NumPy, the same bits: a test holds them equal."""
    same = np.int64(user * 0x85EBCA6B + seed * 0x27D4EB2F)
    mixed_CK = examples_CK.astype(np.int64) * 0x9E3779B1 + (items_C.astype(np.int64) * 0xC2B2AE35)[:, None] + same
    for shift in (33, 29):  # a multiplicative hash in wrapping 64-bit arithmetic
        mixed_CK = (mixed_CK ^ (mixed_CK >> shift)) * 0x1B873593CC9E2D51
    return (mixed_CK ^ (mixed_CK >> 32)).argsort(axis=1, kind="stable")


def _search(stored: Stored, item_vectors_VE: np.ndarray, chosen: Selection) -> NearestExamples:
    numbers = np.arange(1, len(stored.label_M))
    groups = [numbers[stored.label_M[1:] == label] for label in (1, 0)] if chosen.constrained else [numbers]
    return NearestExamples(stored.key_MX, stored.item_M, item_vectors_VE, groups)


def _arranged(found: Found, user: int, items_C: np.ndarray, seed: int) -> Shown:
    """What was found as it is shown, as `ict.neighbours.arrange`: in a seeded random order, 0 where there is none."""
    scores_CK = np.where(found.scores_CK == NOTHING, np.float32(0), found.scores_CK)
    order_CK = shuffled_order(found.numbers_CK, user, items_C, seed)
    return Shown(*(np.take_along_axis(one, order_CK, axis=1) for one in (found.numbers_CK, scores_CK)))
