"""A shop's two months, by the verbs alone: a release serves while the next month is made, pushes, and the way back.

Real Feast, Milvus and Triton; models of one epoch, without a language model, which this is not about.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.feature_store import jobs
from llmcf.serving import export, recommend, releases
from llmcf.serving.assemble import Choice
from ranking import trainer as ranking_trainer
from retrieval_stage import trainer as retrieval_trainer
from tests.shop import START, Shop

pytestmark = pytest.mark.integration
PLAIN = {"framework": "none", "recipe": "strict", "seed": 1}
WS = Workspace("corner-shop", "shuffled-ties")
PEOPLE = [f"p{n}" for n in range(12)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("months")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(folder / "home"))
        patch.setenv("LLMCF_TRITON_MODELS", str(folder / "models"))
        yield folder


def prepared(shop: Shop, folder: Path) -> None:
    """The month's files, until its features are online."""
    from core.data import adding, features, prepare

    shop.write(folder)
    adding.add(WS.dataset, folder)
    prepare.prepare(WS, source=None, seed=1)
    features.build(WS)
    jobs.apply(WS)
    jobs.join(WS)
    jobs.materialize(WS)


def released() -> int:
    ranking_trainer.train(WS, model="deepfm", epochs=1, **PLAIN)
    retrieval_trainer.train(WS, model="sasrec", epochs=1, **PLAIN)
    made = export.export(WS, Choice(backbone="deepfm", **PLAIN), Choice(backbone="sasrec", **PLAIN))
    return made.details["release"]


def answers(*users: str, k: int = 12) -> dict[str, list[tuple[str, float]]]:
    """Items and scores by user, from the live release."""
    result = recommend.recommend(releases.require(WS.dataset), users=users or PEOPLE, k=k)
    return {one["user"]: [(item["item"], item["score"]) for item in one["items"]] for one in result.details["answers"]}


def event(user: str, item: str, days: float) -> str:
    return f'{{"user": "{user}", "item": "{item}", "timestamp": {int(START.timestamp() + days * 86400)}}}'


def test_two_months(place: Path) -> None:
    first = Shop(people=12, goods=14, taken=5)
    prepared(first, place / "march")
    assert released() == 1
    march = answers()
    assert set(march) == set(PEOPLE)
    taken = {row["sku"] for row in first.clicks if row["who"] == "p3"}
    assert not taken & {item for item, _ in march["p3"]}
    assert {item for item, _ in march["p3"]} | taken == {good["sku"] for good in first.goods}

    # Somebody takes all the rest, one after the other: nothing comes back, and the end is an empty answer.
    rest = [item for item, _ in march["p3"]]
    pushed = [event("p3", item, 6 + n / 100) for n, item in enumerate(rest[:-1])]
    jobs.push(WS, pushed, now=START.timestamp() + 9e5)
    assert [item for item, _ in answers("p3")["p3"]] == rest[-1:]
    jobs.push(WS, [event("p3", rest[-1], 7)], now=START.timestamp() + 9e5)
    both = answers("p3", "p4")
    assert both["p3"] == []
    assert both["p4"] == march["p4"]

    # The next month: four goods are gone, two are new, everybody has taken one of these. No export yet.
    second = Shop(people=12, goods=14, taken=5)
    for n, who in enumerate(PEOPLE):
        second.click(who, f"new{n % 2}", 20 + n / 100)
    gone = {f"g{n}" for n in range(4)}
    second.clicks = [row for row in second.clicks if row["sku"] not in gone]
    second.goods = [good for good in second.goods if good["sku"] not in gone]
    second.goods += [{"sku": f"new{n}", "name": f"New good {n}", "maker": "m9"} for n in range(2)]
    prepared(second, place / "april")
    between = answers()
    assert all(between[who] for who in PEOPLE if who != "p3"), "what is newer than the release is UNKNOWN to its graphs"
    assert {item for items in between.values() for item, _ in items} <= {good["sku"] for good in first.goods}

    assert released() == 2
    april = answers()
    offered = {good["sku"] for good in second.goods}
    assert {item for items in april.values() for item, _ in items} <= offered
    assert releases.rollback(WS.dataset).number == 1
    assert answers() == between
    releases.promote(releases.read(WS.dataset, 2))
    assert answers() == april


def test_another_home_does_not_answer_with_this_ones_release(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(place / "another"))
    with pytest.raises(LlmcfError, match="reads another home than"):
        answers("p1")


def test_results_are_plain_values(place: Path) -> None:
    result: dict[str, Any] = recommend.recommend(releases.require(WS.dataset), users=["p1"], k=2).as_json()
    assert result["order"] == WS.order
    assert result["details"]["framework"] == "none"
