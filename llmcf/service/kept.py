"""An answer as it was ranked: kept, so that its next pages and its reasons can be asked for later."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from core.errors import LlmcfError
from llmcf.service import arm_counts, cursors
from llmcf.service.asking import CANDIDATES
from llmcf.service.engine import Engine, Loaded
from llmcf.service.ladder import Found
from llmcf.service.messages import (
    Example,
    Reason,
    RecommendationRequest,
    Recommendations,
    RecommendedItem,
    ServedBy,
)
from llmcf.service.rules import Arranged
from llmcf.service.store import Examples, Store, page_end
from llmcf.service.ways import Way
from llmcf.serving.arms import LIVE
from llmcf.serving.question import Ranking
from llmcf.serving.recommender import Recommender

_OWN = 3  # items of the user's history that a reason names
_NOTHING = "nothing is left to recommend"
_CAPPED = "the scene lets no more of one brand or category onto one page"
_LEFT_OUT = (
    "the request's filters, the scene's rules and what the user has taken (include_seen lets that in) leave no more"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: rows of items in the order shown, with what belongs to each.

    Of them it showed `k` from `start` on, or fewer where one of `ends` comes before, at which the scene's caps end a
    page. `end` says in words why there are no more of them. Where it was explained,
    `shares` are what the examples added to each score, and `own` the places in `history`, the titles of the user's own
    items, that are most like each. `bound` tells the request by which it was made, see cursors.py.
    """

    release: int
    user: str | None
    k: int
    rung: str
    note: str
    items: list[str]
    titles: list[str]
    scores: list[float] | None
    placed_by: list[str]
    examples: list[list[int]]
    similarities: list[list[float]]
    milliseconds: dict[str, float]
    start: int = 0
    experiment: str = ""
    arm: str = LIVE
    end: str = ""
    bound: dict[str, str] = field(default_factory=dict)
    shares: list[float | None] = field(default_factory=list)
    own: list[list[int]] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, found: Found, way: Way, asked: RecommendationRequest, arranged: Arranged) -> "Kept":
        loaded, ranked = found.loaded, found.ranked
        names, order = loaded.recommender.catalogue, arranged.order
        ranked = ranked.take(order)
        rows = ranked.item_C.tolist()
        examples, similarities = ranked.examples()
        return cls(
            release=loaded.release.number,
            user=asked.user,
            k=asked.k,
            rung=found.rung,
            note=found.note if rows else "",
            items=[names.item_ids[row] for row in rows],
            titles=[names.names[row] for row in rows],
            scores=None if ranked.score_C is None else ranked.score_C.astype(np.float64).round(6).tolist(),
            placed_by=arranged.placed_by,
            examples=examples,
            similarities=similarities,
            milliseconds=ranked.milliseconds,
            experiment=way.experiment,
            arm=way.arm,
            end=_end(len(rows), asked, loaded),
            bound=cursors.bound(asked),
            degraded=list(found.degraded),
            ends=arranged.ends,
        )

    def count(self, shown: int) -> None:
        """An answer, or a page of it, has left with so many items."""
        arm_counts.ANSWERS.labels(self.experiment, self.arm, self.release, self.rung).inc()
        arm_counts.SHOWN.labels(self.experiment, self.arm, self.release).inc(shown)

    def told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def explained(self, engine: Engine, loaded: Loaded, ranked: Ranking) -> "Kept":
        """The same with what explains the items, of a `ranked` in the order shown."""
        if ranked.score_C is None:
            return self
        shares: list[float | None] = [None] * len(self.items)
        with suppress(LlmcfError):  # the answer stands without it
            if self.items:
                without_C = loaded.recommender.without_examples(engine.client(loaded), ranked)
                shares = [round(share, 6) for share in (ranked.score_C - without_C).tolist()]
        history, own = loaded.recommender.own_history(ranked, _OWN)
        return replace(self, shares=shares, own=own, history=history)

    def texts(self, loaded: Loaded | None, *, whole: bool) -> Examples | None:
        """What is to be kept of the examples beside their numbers: of the items shown, or with `whole` of all."""
        if loaded is None or loaded.recommender.examples is None:
            return None
        places = range(len(self.items)) if whole else self._shown
        return Examples(self.release, self._numbers(places), partial(_example, loaded.recommender))

    def page(self, engine: Engine, store: Store, request: str, *, explain: bool = False) -> Recommendations:
        """Those of the page from `start` on, each with its reason where `explain` asks for it."""
        end = page_end(self.start, self.k, self.ends)
        reasons = self._reasons(engine, store) if explain else [None] * len(self._shown)
        items = [
            RecommendedItem(
                item=self.items[at],
                title=self.titles[at],
                score=self.scores[at] if self.scores else None,
                placed_by=self.placed_by[at] or None,
                reason=reason,
            )
            for at, reason in zip(self._shown, reasons, strict=True)
        ]
        return Recommendations(
            id=request,
            user=self.user,
            items=items,
            note=self._told(len(items), last=end >= len(self.items)),
            cursor=cursors.make(engine.key, request, end, self.bound, self.items) if end < len(self.items) else None,
            served_by=ServedBy(
                release=self.release,
                experiment=self.experiment,
                arm=self.arm,
                rung=self.rung,
                degraded=self.degraded,
                milliseconds=self.milliseconds,
            ),
        )

    def _told(self, shown: int, *, last: bool) -> str:
        """The note of a page: nothing is known of the user, or there are fewer items than were asked for, and why."""
        if shown == self.k:
            return self.note
        count, why = f"{shown} of {self.k} items" if self.items else _NOTHING, self.end if last else _CAPPED
        return "; ".join(filter(None, [self.note, f"{count}: {why}" if why else count]))

    @property
    def _shown(self) -> range:
        return range(self.start, min(page_end(self.start, self.k, self.ends), len(self.items)))

    def _numbers(self, places: Sequence[int]) -> set[int]:
        return {number for at in places for number in self.examples[at] if number}

    def _reasons(self, engine: Engine, store: Store) -> list[Reason | None]:
        """Of the items shown; None where nothing is known of what the ranker read."""
        numbers, loaded = self._numbers(self._shown), engine.find(self.release)
        if loaded and loaded.recommender.examples is not None:
            said = {number: _example(loaded.recommender, number) for number in numbers}
        else:  # it was let go, or has no examples in this worker
            said = store.examples(self.release, numbers) if numbers else {}
        return [self._reason(at, said) for at in self._shown]

    def _reason(self, at: int, said: Mapping[int, dict[str, Any]]) -> Reason | None:
        read = sorted(zip(self.similarities[at], self.examples[at], strict=True), reverse=True)
        found = [Example(**said[number], similarity=similarity) for similarity, number in read if number in said]
        if not found and not self.shares and any(self.examples[at]):
            return None
        return Reason(
            examples=found,
            example_share=self.shares[at] if self.shares else None,
            own_history=[self.history[place] for place in self.own[at]] if self.own else [],
        )


def _end(count: int, asked: RecommendationRequest, loaded: Loaded) -> str:
    """Why an answer and its further pages hold `count` items and no more."""
    there = len(loaded.recommender.items.exact.ids_N)
    if count >= there:
        return f"release {loaded.release.number} has no more"
    if asked.candidates is None and count >= CANDIDATES:
        return f"{CANDIDATES} are ranked for a request, and these are the last"
    if asked.candidates is not None and count >= len(asked.candidates):
        return "no more candidates are named"
    return _LEFT_OUT


def _example(recommender: Recommender, number: int) -> dict[str, Any]:
    """What an example is about, but for how similar it is."""
    (one,) = recommender.evidence([number], [0.0])
    return {
        "user": one.user,
        "item_title": one.title,
        "taken": one.liked,
        "date": one.date,
        "chain_of_thought": one.text,
    }
