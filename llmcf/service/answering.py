"""Answers: recommendations, their next pages, an answer once more, scores."""

from contextlib import suppress
from dataclasses import replace

from core import deadlines
from core.errors import Unavailable
from llmcf.service import arm_counts, asking, cursors, ladder
from llmcf.service.engine import Engine, Loaded
from llmcf.service.kept import Kept
from llmcf.service.messages import (
    ItemScore,
    RecommendationRequest,
    Recommendations,
    ScoreRequest,
    Scores,
    ServedBy,
)
from llmcf.service.problems import At, Problem
from llmcf.service.remembered import forgotten
from llmcf.service.store import Store, page_end
from llmcf.serving import tracing
from llmcf.serving.question import Question


def recommend(engine: Engine, store: Store, asked: RecommendationRequest, request: str) -> Recommendations:
    """Answer one request and keep the answer under its id.

    Raises:
        Problem: for an unknown item, category or scene, or a cursor that is none or another request's.
        LlmcfError: as of the recommender.
    """
    if asked.cursor is not None:
        return _next_page(engine, store, asked, request)
    way = engine.way(_unit(asked, request))
    found = ladder.descend(engine, way, asked)
    loaded, ranked = found.loaded, found.ranked
    with tracing.span("rules"):
        arranged = asking.arrange(loaded.recommender, found.scene, ranked, asked.k)
    kept = Kept.of(found, way, asked, arranged)
    if asked.explain:
        kept = kept.explained(engine, loaded, ranked.take(arranged.order))
    with suppress(Unavailable):  # an answer is one, also where it cannot be asked for again
        store.keep(request, kept.told(), kept.texts(loaded, whole=asked.explain))
    # What was asked of a store that did not answer is remembered or zero: no sample of what it serves.
    if not loaded.features.degraded:
        first = arranged.order[: page_end(0, asked.k, arranged.ends)]
        shown, reads_dense = ranked.take(first), "dense" in loaded.release.stages["ranker"].reads
        today = loaded.features.today()
        engine.served.offer(request, loaded.release.number, today, shown, reads_dense=reads_dense)
    page = kept.page(engine, store, request, explain=asked.explain)
    kept.count(len(page.items))
    return page


def _unit(asked: RecommendationRequest, request: str) -> str:
    """By what a request gets its arm: the user, else the session's id, else only the request itself."""
    if asked.user is not None:
        return f"user:{asked.user}"
    return f"request:{request}" if asked.session is None else f"session:{asked.session}"


def again(engine: Engine, store: Store, request: str) -> Recommendations:
    """What was answered, with the examples that the ranker read; Problem 404 if it is not kept."""
    told = store.answer(request)
    if told is None:
        raise Problem(404, "unknown-answer", "no answer is kept under this id")
    kept = Kept(**told)
    return kept.page(engine, store, request, explain=True)


def score(engine: Engine, asked: ScoreRequest, request: str) -> Scores:
    """P(click) of items for a user, in the order asked.

    Raises:
        Problem: 404 for a user of whom nothing is known, 422 for items that the release does not have.
        Unavailable: if no release's models answer (OutOfTime, where there was no time for more), or the feature store
            does not and the user was not read before.
    """
    way = engine.way(f"user:{asked.user}")
    *others, (last, _) = way.releases[: way.judges]
    if not any(len(asking.known(one.recommender, asked.items)) == len(asked.items) for one, _ in others):
        asking.rows_of(last.recommender, asked.items, "/items")

    def question(loaded: Loaded) -> Question | None:
        rows = asking.known(loaded.recommender, asked.items)
        return Question(user=asked.user, candidates=rows, with_seen=True) if len(rows) == len(asked.items) else None

    found = ladder.ranked_by(engine, way, question)
    if found is None:
        deadlines.check()
        raise Unavailable("no release's models answer now")
    loaded, ranked, rung = found
    if ranked.score_C is None and loaded.features.degraded:
        raise forgotten()
    if ranked.score_C is None:
        raise Problem(404, "unknown-user", "nothing is known of this user", [At("/user", "unknown")])
    names = loaded.recommender.catalogue.item_ids
    by_item = {names[row]: one for row, one in zip(ranked.item_C.tolist(), ranked.score_C.tolist(), strict=True)}
    scores = [ItemScore(item=item, score=by_item[item]) for item in asked.items]
    arm_counts.ANSWERS.labels(way.experiment, way.arm, loaded.release.number, rung).inc()
    served = ServedBy(
        release=loaded.release.number,
        experiment=way.experiment,
        arm=way.arm,
        rung=rung,
        degraded=loaded.features.shortcomings,
        milliseconds=ranked.milliseconds,
    )
    return Scores(id=request, user=asked.user, scores=scores, served_by=served)


def _next_page(engine: Engine, store: Store, asked: RecommendationRequest, request: str) -> Recommendations:
    assert asked.cursor is not None
    first, start = cursors.read(asked.cursor)
    told = store.answer(first)
    if told is None:
        raise cursors.unknown()
    kept = Kept(**told)
    cursors.check(engine.key, asked, kept.bound, kept.items)
    shown = replace(kept, start=start, k=asked.k)
    with suppress(Unavailable):  # as of the first page: an answer is one, also where it cannot be asked for again
        store.keep(request, shown.told(), shown.texts(engine.find(shown.release), whole=False))
    page = shown.page(engine, store, first, explain=asked.explain)
    shown.count(len(page.items))
    return page.model_copy(update={"id": request})
