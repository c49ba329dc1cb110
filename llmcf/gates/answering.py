"""A release asked about held-out rows as a request would ask it: its own graphs, examples and item search, the feature
store's place taken by what the training join says of the moment.

So two releases of different days answer the same rows: users and items that came after one are to it what they would be
in a request, UNKNOWN, a candidate with its brand, categories and text beside.

Suffixes: C items of a moment, N rows of all moments, B moments, E width of a text vector, V items.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from core import processor
from core.contracts import CATEGORIES, FIRST_ID, PAD
from core.data import tables
from core.errors import Missing
from core.progress import track
from core.settings import Workspace
from llmcf.gates.held_out import Moment
from llmcf.serving import loading
from llmcf.serving.catalogue import Catalogue, Users
from llmcf.serving.manifest import Release
from llmcf.serving.newcomers import Newcomers
from llmcf.serving.question import Question, Ranking
from llmcf.serving.recommender import Models, Recommender
from llmcf.serving.triton_client import LocalModels
from retrieval_stage.items import NEVER

TOP = 10
T = TypeVar("T")


@dataclass(slots=True)
class AsOf:
    """The feature reader of one moment at a time.

    An item that the moment has no row of gets the features of its first one: good for timing, and for nothing else.
    """

    moment: Moment | None = None
    _place: dict[int, int] = field(default_factory=dict)

    def at(self, moment: Moment) -> None:
        self.moment, self._place = moment, {item: place for place, item in enumerate(moment.item_C.tolist())}

    @property
    def now(self) -> Moment:
        assert self.moment is not None, "a moment is chosen first"
        return self.moment

    def seen(self, user: int) -> np.ndarray:
        assert user == self.now.user
        return self.now.seen_T

    def today(self) -> int:
        return self.now.day

    def user(self, user: int) -> dict[str, Any]:
        assert user == self.now.user
        return {"history": self.now.history_L.tolist(), "activity": float(np.log1p(self.now.position))}

    def session(self, items: Sequence[int]) -> None:
        del items

    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> np.ndarray:
        del user, day
        return self.now.dense_CX[[self._place.get(item, 0) for item in items]]

    def popular(self, count: int) -> list[int]:
        del count
        return []

    def prepare(self, items: Sequence[int]) -> None:
        del items


class Answering:
    """A release over the rows of a workspace. From here on NumPy multiplies in one thread, as where it serves."""

    def __init__(self, release: Release, ws: Workspace) -> None:
        """Raises LlmcfError if a collection that the release names is gone."""
        processor.multiply_in_one_thread()
        self.release = release
        self._reader = AsOf()
        search, examples = loading.collections(release)
        self._users = Users(release.dataset)
        self._recommender = Recommender(
            release=release,
            catalogue=Catalogue.load(release),
            users=self._users,
            taken=self._reader.seen,
            features=self._reader,
            search=search,
            examples=examples,
        )
        width = examples.stored.key_MX.shape[1] // 2 if examples else 0
        if len(new := _newcomers(release, ws, width)):
            self._recommender = replace(self._recommender, new=new)  # ranked when asked for; not in its item search

    @cached_property
    def models(self) -> LocalModels:
        """The release's graphs in this process."""
        return LocalModels(self.release.models, self.release.stages)

    @property
    def items(self) -> np.ndarray:
        """What item search may find, (V,)."""
        return self._recommender.items.exact.ids_N

    @property
    def newest_day(self) -> int:
        """The last day that its examples and its items' first takings tell of; -1 where they tell of none."""
        examples, facts = self._recommender.examples, self._recommender.items.exact.columns
        told = [examples.stored.day_M] if examples else []
        told += [facts[name] for name in ("first_day",) if name in facts]
        days = np.concatenate([np.empty(0, dtype=np.int64), *told])
        return int(days[days != NEVER].max(initial=-1))

    def scores(self, models: Models, moment: Moment) -> np.ndarray:
        """P(click) of the moment's items, in their order, (C,)."""
        found = self._ask(self._recommender.rank, models, moment, candidates=moment.item_C.tolist(), with_seen=True)
        assert found.score_C is not None
        by_item = dict(zip(found.item_C.tolist(), found.score_C.tolist(), strict=True))
        return np.array([by_item[item] for item in moment.item_C.tolist()])

    def found(self, models: Models, moment: Moment) -> np.ndarray:
        """The TOP items that item search finds, best first, without those the user had taken."""
        return self._ask(self._recommender.find, models, moment, count=TOP)

    def answer(self, models: Models, moment: Moment) -> Ranking:
        """The whole of a request but reading the feature store: candidates found and ranked."""
        return self._ask(self._recommender.rank, models, moment)

    def _ask(self, how: Callable[[Models, Question], T], models: Models, moment: Moment, **question: Any) -> T:
        self._reader.at(moment)
        return how(models, Question(user=self._users.raw_id(moment.user), **question))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a release said of all moments: labels, scores and users of the rows, (N,), ranks and users, (B,).

    A rank above TOP is infinite. `found_BK` is what item search put first, (B, TOP), PAD where there is no more.
    """

    label_N: np.ndarray
    score_N: np.ndarray
    user_N: np.ndarray
    rank_B: np.ndarray
    user_B: np.ndarray
    found_BK: np.ndarray

    def of(self, chosen_N: np.ndarray) -> "Answers":
        """The chosen rows, and the moments whose positives are among them."""
        chosen_B = chosen_N[self.label_N == 1]
        rows = {name: getattr(self, name)[chosen_N] for name in ("label_N", "score_N", "user_N")}
        return Answers(**rows, **{name: getattr(self, name)[chosen_B] for name in ("rank_B", "user_B", "found_BK")})


def ask(answering: Answering, moments: Sequence[Moment]) -> Answers:
    """Score every moment's items and search for what came, by the release's graphs in this process.

    Raises:
        LlmcfError: if a graph refuses a row.
    """
    score, find = (partial(how, answering.models) for how in (answering.scores, answering.found))
    what = f"held-out requests of release {answering.release.number}"
    told = [(score(one), find(one)) for one in track(moments, total=len(moments), what=what)]
    found_BK = np.full((len(moments), TOP), PAD, dtype=np.int64)
    for place, (_, found) in enumerate(told):
        found_BK[place, : len(found)] = found
    taken_B1 = np.array([[one.taken] for one in moments], dtype=np.int64).reshape(-1, 1)
    at_BK = found_BK == taken_B1
    user_B = np.array([one.user for one in moments], dtype=np.int64)
    return Answers(
        label_N=np.concatenate([one.label_C for one in moments]),
        score_N=np.concatenate([scores for scores, _ in told]),
        user_N=np.repeat(user_B, [len(one.item_C) for one in moments]),
        rank_B=np.where(at_BK.any(axis=1), at_BK.argmax(axis=1) + 1.0, np.inf),
        user_B=user_B,
        found_BK=found_BK,
    )


def _newcomers(release: Release, ws: Workspace, width: int) -> Newcomers:
    """The items of the workspace that came after the release, by what its ranker and its examples, if it has any with
    texts so wide, may be told of them."""
    items = tables.items(ws)
    items = items.slice(max(0, release.items_end - FIRST_ID))  # row i is item i + FIRST_ID
    row_N = items["item"].to_numpy().astype(np.int64)
    lists = [list(one)[:CATEGORIES] for one in items["category_ids"].to_pylist()]
    padded = [one + [PAD] * (CATEGORIES - len(one)) for one in lists]
    return Newcomers(
        row_N=row_N,
        raw_ids=items["raw_id"].to_pylist(),
        names=items["title"].to_pylist(),
        brands=items["brand"].to_pylist(),
        categories=items["categories"].to_pylist(),
        brand_N=items["brand_id"].to_numpy().astype(np.int64),
        categories_NC=np.array(padded, dtype=np.int64).reshape(-1, CATEGORIES),
        text_NE=_texts(release, ws, row_N, width),
    )


def _texts(release: Release, ws: Workspace, row_N: np.ndarray, width: int) -> np.ndarray:
    """The workspace's vectors of those items' texts, (N, E); zeros where it has none by the release's encoder."""
    width = next((one.shape[0] for one in release.stages["ranker"].inputs if one.name == "text"), width)
    found = texts_of(release, ws, row_N) if width and len(row_N) else None
    return np.zeros((len(row_N), width), dtype=np.float32) if found is None else found


def texts_of(release: Release, ws: Workspace, row_N: np.ndarray) -> np.ndarray | None:
    """The same where the workspace has them, else None: a request would bring none either."""
    from ict.examples import text_vectors
    from ranking.weights import encoder

    verb = tables.remedy(ws, "cot embed")
    try:
        if encoder(ws.cot("vectors"), verb) == release.encoder:
            return text_vectors(ws, verb)["items"].numpy()[row_N]
    except Missing:
        pass
    return None
