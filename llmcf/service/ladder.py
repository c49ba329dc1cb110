"""Which release answers a request, and on which rung: full, last known features, without examples, live release,
previous release, popular."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core import deadlines
from core.deadlines import OutOfTime
from core.errors import LlmcfError, UsageError
from core.progress import say
from llmcf.service import arm_counts, asking
from llmcf.service.engine import Engine, Loaded
from llmcf.service.messages import RecommendationRequest
from llmcf.service.problems import Problem
from llmcf.service.remembered import STALE
from llmcf.service.rules import Scene
from llmcf.service.ways import FULL, LAST_KNOWN, POPULAR, WITHOUT_EXAMPLES, Way
from llmcf.serving import tracing
from llmcf.serving.question import Question, Ranking

_COLD = "nothing is known of this user now, so these are the most popular items"
_TOO_OLD = "what is known of this user is too old to use, so these are the most popular items"
_SILENT = "no model answers now, so these are the most popular items"
_IN_PART = "some features are too old to use and count as not known"


@dataclass(frozen=True, slots=True)
class Found:
    """The release that answered, the scene's rules, the ranking, the rung that it stands on, and a `note` of why.

    `degraded` names what the features lacked.
    """

    loaded: Loaded
    scene: Scene
    ranked: Ranking
    rung: str
    note: str = ""
    degraded: Sequence[str] = ()


def descend(engine: Engine, way: Way, asked: RecommendationRequest) -> Found:
    """Answer on the highest rung that holds.

    popular: no release's models answer, or nothing is known of the user. The others as of `ranked_by`.
    """
    judge, scene, question = _judged(engine, way, asked)
    judge.features.watch()
    found = ranked_by(
        engine, way, lambda loaded: question if loaded is judge else _question_if_known(engine, loaded, asked)
    )
    if found is None:
        popular = judge.recommender.popular(question)
        return Found(judge, scene, popular, POPULAR, _SILENT, judge.features.shortcomings)
    loaded, ranked, rung = found
    lacks = loaded.features.shortcomings
    if ranked.person is None:
        return Found(loaded, scene, ranked, POPULAR, _TOO_OLD if any(map(_stale, lacks)) else _COLD, lacks)
    stale = ", ".join(one.removeprefix(STALE) for one in lacks if _stale(one))
    return Found(loaded, scene, ranked, rung, f"{_IN_PART} ({stale})" if stale else "", lacks)


def _stale(lack: str) -> bool:
    return lack.startswith(STALE)


def _judged(engine: Engine, way: Way, asked: RecommendationRequest) -> tuple[Loaded, Scene, Question]:
    """The first release that has what the request names, of those that may judge it; the last one's Problem."""
    *others, (last, _) = way.releases[: way.judges]
    for loaded, _ in others:
        with suppress(Problem):
            return loaded, *asking.question_of(engine, loaded.recommender, asked)
    return last, *asking.question_of(engine, last.recommender, asked)


def ranked_by(
    engine: Engine, way: Way, question: Callable[[Loaded], Question | None]
) -> tuple[Loaded, Ranking, str] | None:
    """The first release whose models answer, its ranking and the rung; None if there is none.

    full: the arm's own release, from what the feature store says now. last known features: the store does not answer,
    so the user is as last read. without examples: Milvus has lost them. live release: the arm's models do not answer.
    previous release: nor do the live ones. None, too, where no time is left to ask another: it is time to answer.
    """
    for loaded, rung in way.releases:
        asked = None if deadlines.left() <= 0 else question(loaded)
        if asked is None:
            continue
        loaded.features.watch()
        who, start = (way.experiment, way.arm, loaded.release.number), time.perf_counter()
        try:
            with tracing.span("release", **way.attributes(loaded)), loaded.breaker():
                ranked = loaded.recommender.rank(engine.client(loaded), asked)
        except UsageError:
            raise
        except LlmcfError as error:
            if not isinstance(error, OutOfTime):
                arm_counts.FAILURES.labels(*who).inc()
            engine.drop_client(loaded)
            say(f"release {loaded.release.number} did not answer: {error}")
            continue
        if loaded.features.degraded:
            return loaded, ranked, LAST_KNOWN if rung == FULL else rung
        if ranked.person is not None:
            arm_counts.SECONDS.labels(*who).observe(time.perf_counter() - start)
        return loaded, ranked, WITHOUT_EXAMPLES if rung == FULL and loaded.lacks_examples else rung
    return None


def _question_if_known(engine: Engine, loaded: Loaded, asked: RecommendationRequest) -> Question | None:
    """The question to an older release; None where it does not know what is named."""
    try:
        return asking.question_of(engine, loaded.recommender, asked)[1]
    except Problem:
        return None
