"""An answer as it was ranked: kept, so that its next pages and its reasons can be asked for later."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.errors import LlmcfError
from llmcf.service import arm_counts, cursors
from llmcf.service.engine import Engine, Loaded
from llmcf.service.messages import (
    Example,
    Reason,
    RecommendationRequest,
    Recommendations,
    RecommendedItem,
    ServedBy,
)
from llmcf.service.rules import Arranged
from llmcf.service.ways import POPULAR, Way
from llmcf.serving.arms import LIVE
from llmcf.serving.question import Ranking
from llmcf.serving.recommender import Recommender

_OWN = 3  # items of the user's history that a reason names
_COLD = "nothing is known of this user now, so these are the most popular items"
_NOTHING = "nothing is left to recommend"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: rows of items in the order shown, with what belongs to each.

    Of them it showed `k`, from `start` on. `bound` tells the request by which it was made, see cursors.py.
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
    bound: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, loaded: Loaded, way: Way, asked: RecommendationRequest, ranked: Ranking, arranged: Arranged, rung: str
    ) -> "Kept":
        names, order = loaded.recommender.catalogue, arranged.order
        rows = ranked.item_C[order].tolist()
        read = [ranked.examples(at) for at in order]
        note = _NOTHING if not rows else _COLD if rung == POPULAR else ""
        return cls(
            release=loaded.release.number,
            user=asked.user,
            k=asked.k,
            rung=rung,
            note=note,
            items=[names.item_ids[row] for row in rows],
            titles=[names.names[row] for row in rows],
            scores=None if ranked.score_C is None else [round(one, 6) for one in ranked.score_C[order].tolist()],
            placed_by=arranged.placed_by,
            examples=[numbers for numbers, _ in read],
            similarities=[[round(one, 4) for one in found] for _, found in read],
            milliseconds=ranked.milliseconds,
            experiment=way.experiment,
            arm=way.arm,
            bound=cursors.bound(asked),
        )

    def count(self, shown: int) -> None:
        """An answer, or a page of it, has left with so many items."""
        arm_counts.ANSWERS.labels(self.experiment, self.arm, self.release, self.rung).inc()
        arm_counts.SHOWN.labels(self.experiment, self.arm, self.release).inc(shown)

    def told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def page(self, engine: Engine, request: str, ranked: Ranking | None, *, explain: bool = False) -> Recommendations:
        """Items `start` to `start` + `k`; with the ranking, or `explain`, each with its reason."""
        end, found = self.start + self.k, engine.find(self.release)
        places = range(self.start, min(end, len(self.items)))
        reasons: Sequence[Reason | None] = [None] * len(places)
        if found and (ranked or explain):
            reasons = [self._reason(found.recommender, at) for at in places]
            if ranked and ranked.score_C is not None:
                reasons = _with_shares(engine, found, ranked, self, places, reasons)
        items = [
            RecommendedItem(
                item=self.items[at],
                title=self.titles[at],
                score=self.scores[at] if self.scores else None,
                placed_by=self.placed_by[at] or None,
                reason=reason,
            )
            for at, reason in zip(places, reasons, strict=True)
        ]
        return Recommendations(
            id=request,
            user=self.user,
            items=items,
            note=self.note,
            cursor=cursors.make(engine.key, request, end, self.bound, self.items) if end < len(self.items) else None,
            served_by=ServedBy(
                release=self.release,
                experiment=self.experiment,
                arm=self.arm,
                rung=self.rung,
                milliseconds=self.milliseconds,
            ),
        )

    def _reason(self, recommender: Recommender, at: int) -> Reason:
        found = recommender.evidence(self.examples[at], self.similarities[at])
        return Reason(
            examples=[
                Example(
                    user=one.user,
                    item_title=one.title,
                    taken=one.liked,
                    date=one.date,
                    similarity=one.similarity,
                    chain_of_thought=one.text,
                )
                for one in found
            ]
        )


def _with_shares(
    engine: Engine, loaded: Loaded, ranked: Ranking, kept: Kept, places: range, reasons: Sequence[Reason | None]
) -> list[Reason | None]:
    """What the examples add to each score, by a second look without them; and the user's own items that are nearest."""
    recommender = loaded.recommender
    at = {item: place for place, item in enumerate(ranked.item_C.tolist())}
    chosen = [at[recommender.catalogue.rows[kept.items[place]]] for place in places]
    shown = ranked.take(chosen)
    assert shown.score_C is not None
    share_C: Sequence[float | None] = [None] * len(chosen)
    with suppress(LlmcfError):  # the answer stands without it
        if chosen:
            without_C = recommender.without_examples(engine.client(loaded), shown)
            share_C = [round(share, 6) for share in (shown.score_C - without_C).tolist()]
    own = [recommender.own_items(shown, place, _OWN) for place in range(len(chosen))]
    return [
        reason and reason.model_copy(update={"example_share": share, "own_history": names})
        for reason, share, names in zip(reasons, share_C, own, strict=True)
    ]
