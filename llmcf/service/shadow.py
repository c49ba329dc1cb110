"""A share of the requests is asked of another release as well, after the answer has left; what differs is counted.

One thread of a worker does that, one request after the other, and only while nobody waits: what it cannot do at once is
dropped, and counted as that. Nothing that goes wrong here reaches a user, nor a breaker that users' requests meet.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, Full, Queue
from threading import Event, Thread

import numpy as np

from core.errors import LlmcfError
from core.progress import say
from llmcf.service import asking
from llmcf.service.arm_counts import DIFFERENCE, OVERLAP, SHADOW_SECONDS, SHADOWED
from llmcf.service.engine import Engine, Loaded
from llmcf.service.kept import Kept
from llmcf.service.messages import RecommendationRequest
from llmcf.service.problems import Problem
from llmcf.service.store import Store, page_end
from llmcf.serving import tracing
from llmcf.serving.question import Ranking

QUEUE = 4  # requests that may wait
_LOOK_S = 0.2


class Shadow:
    """Of one worker. Safe for threads.

    Args:
        busy: whether this worker has so much to do that the shadow must stand back.
    """

    def __init__(self, engine: Engine, store: Store, busy: Callable[[], bool]) -> None:
        self._engine, self._store, self._busy = engine, store, busy
        self._queue: Queue[tuple[RecommendationRequest, str]] = Queue(QUEUE)
        self._stop = Event()
        self._thread = Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, asked: RecommendationRequest, request: str) -> None:
        """Take note of a request whose answer has left and is kept under its id; returns at once."""
        arms = self._engine.arms
        if arms.shadow is None or asked.cursor is not None or not arms.shadowed(request):
            return
        if self._engine.live.release.number == arms.shadow.release:
            return  # it has been made live: there is nothing to compare
        try:
            self._queue.put_nowait((asked, request))
        except Full:
            SHADOWED.labels(arms.shadow.release, "dropped").inc()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                asked, request = self._queue.get(timeout=_LOOK_S)
            except Empty:
                continue
            arms = self._engine.arms
            if arms.shadow is None:
                continue
            number = arms.shadow.release
            if self._busy():
                SHADOWED.labels(number, "dropped").inc()
                continue
            try:
                SHADOWED.labels(number, self._compare(number, asked, request)).inc()
            except Exception as error:  # whatever it is: it is the shadow's
                SHADOWED.labels(number, "failed").inc()
                say(f"the shadow, release {number}, did not answer request {request}: {error!r}")

    def _compare(self, number: int, asked: RecommendationRequest, request: str) -> str:
        """What became of it: compared, or why not."""
        loaded, told = self._engine.find(number), self._store.answer(request)
        if loaded is None or told is None:
            return "dropped"
        kept = Kept(**told)
        start = time.perf_counter()
        try:
            with tracing.span("shadow", **{"llmcf.release": number, "llmcf.request_id": request}):
                items, scores = _answer(self._engine, loaded, asked)
        except Problem:  # it does not have what the request names
            return "unknown"
        SHADOW_SECONDS.labels(number, "shadow").observe(time.perf_counter() - start)
        SHADOW_SECONDS.labels(number, "answer").observe(sum(kept.milliseconds.values()) / 1e3)
        shown = kept.items[: page_end(0, kept.k, kept.ends)]
        OVERLAP.labels(number).observe(len({*shown} & {*items[: len(shown)]}) / len(shown) if shown else 1.0)
        if kept.scores is not None and scores is not None:
            before = dict(zip(kept.items, kept.scores, strict=True))
            apart = [abs(before[one] - now) for one, now in zip(items, scores, strict=True) if one in before]
            if apart:
                DIFFERENCE.labels(number).observe(float(np.mean(apart)))
        return "compared"


def _answer(engine: Engine, loaded: Loaded, asked: RecommendationRequest) -> tuple[list[str], Sequence[float] | None]:
    """Items as the shadow would show them, with scores.

    Raises:
        Problem: if the release does not have what is named.
        LlmcfError: if it does not answer.
    """
    scene, question = asking.question_of(engine, loaded.recommender, asked)
    alone = replace(loaded.recommender, features=loaded.features.reader)
    try:
        ranked: Ranking = alone.rank(engine.client(loaded), question)
    except LlmcfError:
        engine.drop_client(loaded)
        raise
    order = asking.arrange(loaded.recommender, scene, ranked, asked.k).order
    names = loaded.recommender.catalogue.item_ids
    items = [names[row] for row in ranked.item_C[order].tolist()]
    return items, None if ranked.score_C is None else ranked.score_C[order].tolist()
