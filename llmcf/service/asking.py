"""From a request's message to what a release is asked, and the scene's rules over what it answers."""

from collections.abc import Sequence

import numpy as np

from ict.filters import Filter
from llmcf.service import rules
from llmcf.service.engine import Engine
from llmcf.service.messages import RecommendationRequest
from llmcf.service.problems import At, Problem
from llmcf.service.rules import Arranged, Scene
from llmcf.serving.question import Question, Ranking
from llmcf.serving.recommender import Recommender

CANDIDATES = 200  # that are ranked


def question_of(engine: Engine, recommender: Recommender, asked: RecommendationRequest) -> tuple[Scene, Question]:
    """What a release is asked, and the rules of the scene; Problem for what it does not have."""
    house = engine.rules
    scene = rules.find(house.scenes, asked.scene)
    wanted = asked.filters
    allow = [rows_of(recommender, wanted.allow, "/filters/allow")] if wanted.allow is not None else []
    allow += [known(recommender, names) for names in (scene.allow, house.available(scene)) if names is not None]
    deny = [*known(recommender, wanted.deny), *known(recommender, scene.deny)]
    allowed = Filter(
        allow=sorted(set.intersection(*map(set, allow))) if allow else None,
        deny=deny,
        categories=_categories(recommender, wanted.categories) if wanted.categories else None,
    )
    return scene, Question(
        user=asked.user,
        session=rows_of(recommender, asked.history or [], "/history"),
        allowed=allowed,
        candidates=None if asked.candidates is None else rows_of(recommender, asked.candidates, "/candidates"),
        count=CANDIDATES,
        with_seen=wanted.include_seen or scene.include_seen,
        added=known(recommender, [item for rule in scene.pin for item in rule.items]),
    )


def rows_of(recommender: Recommender, items: Sequence[str], pointer: str) -> list[int]:
    """Rows of items; Problem 422 with the place of each that the release does not have."""
    have = recommender.catalogue.rows
    if strangers := [At(f"{pointer}/{at}", "unknown item") for at, item in enumerate(items) if item not in have]:
        raise Problem(422, "unknown-item", "the release does not have every item that is named", strangers)
    return [have[item] for item in items]


def known(recommender: Recommender, items: Sequence[str]) -> list[int]:
    """Rows of those items that the release has: to deny what is not there is no fault."""
    have = recommender.catalogue.rows
    return [have[item] for item in items if item in have]


def _categories(recommender: Recommender, names: Sequence[str]) -> list[int]:
    have = recommender.catalogue.category_ids
    wrong = [At(f"/filters/categories/{at}", "unknown category") for at, name in enumerate(names) if name not in have]
    if wrong:
        raise Problem(422, "unknown-category", "the release does not have every category that is named", wrong)
    return [have[name] for name in names]


def arrange(recommender: Recommender, scene: Scene, ranked: Ranking, k: int) -> Arranged:
    """The scene's rules over the ranking; what no model scored keeps its order."""
    worth_C = ranked.worth_C
    if worth_C is None:
        worth_C = np.linspace(1.0, 0.5, len(ranked.item_C))
    return rules.arrange(scene, ranked.item_C, worth_C, k, rules.facts(recommender.catalogue))
