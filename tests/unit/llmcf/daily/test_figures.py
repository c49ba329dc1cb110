"""A day's figures are those of core.metrics on the rows of each part; a request belongs to what was taken."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from core import metrics
from core.contracts import PAD
from core.segments import SEGMENTS
from llmcf.daily import figures
from llmcf.daily.figures import COVERAGE, World
from llmcf.gates.answering import TOP, Answers
from tests.in_memory import training_rows

ITEMS, UNTIL = 30, 6
SEARCHED = 30


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return training_rows(users=20, items=ITEMS)


@pytest.fixture(scope="module")
def told(rows: pa.Table) -> Answers:
    draw = np.random.default_rng(0)
    label_N, user_N = rows["label"].to_numpy().astype(np.int64), rows["user"].to_numpy()
    count = int(label_N.sum())
    found_BK = np.array([draw.permutation(ITEMS // 2)[:TOP] + 2 for _ in range(count)])
    taken_B = rows["item"].to_numpy()[label_N == 1]
    at_BK = found_BK == taken_B[:, None]
    return Answers(
        label_N=label_N,
        score_N=1 / (1 + np.exp(-draw.normal(0, 1, len(label_N)) - label_N)),
        user_N=user_N,
        rank_B=np.where(at_BK.any(axis=1), at_BK.argmax(axis=1) + 1.0, np.inf),
        user_B=user_N[label_N == 1],
        found_BK=found_BK,
    )


@pytest.fixture(scope="module")
def world() -> World:
    return World(
        categories={item: ["even" if item % 2 else "odd", "every", *["rare"] * (item == 3)] for item in range(2, 32)},
        first_of_user=np.where(np.arange(40) % 4 == 0, UNTIL, 0),
        first_of_item=np.where(np.arange(40) % 5 == 0, UNTIL, 0),
        until=UNTIL,
        searched=SEARCHED,
    )


Lines = dict[tuple[str, str], dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def found(rows: pa.Table, told: Answers, world: World) -> Lines:
    lines: Lines = {}
    for line in figures.measure(rows, told, world):
        lines.setdefault((line["dimension"], line["segment"]), {})[line["metric"]] = line
    return lines


def expected(told: Answers, mask_N: np.ndarray) -> dict[str, float]:
    mask_B = mask_N[told.label_N == 1]
    binary = metrics.binary_metrics(told.label_N[mask_N], told.score_N[mask_N], told.user_N[mask_N])
    ranking = metrics.full_ranking(np.where(np.isinf(told.rank_B[mask_B]), 1e9, told.rank_B[mask_B]), ks=[TOP])
    return {**binary, **ranking, COVERAGE: len(np.unique(told.found_BK[mask_B])) / SEARCHED}


def parts(rows: pa.Table, world: World) -> dict[tuple[str, str], np.ndarray]:
    user, item = rows["user"].to_numpy(), rows["item"].to_numpy()
    return {
        ("all", "all"): np.full(rows.num_rows, True),
        ("activity", "history of 5-9"): SEGMENTS["history of 5-9"](rows),
        ("item popularity", "popular items"): SEGMENTS["popular items"](rows),
        ("user", "new users"): world.first_of_user[user] >= UNTIL,
        ("item", "known items"): world.first_of_item[item] < UNTIL,
        ("category", "odd"): item % 2 == 0,
    }


def test_they_are_those_of_the_reports(rows: pa.Table, told: Answers, world: World, found: Lines) -> None:
    for part, mask_N in parts(rows, world).items():
        own = found[part]
        assert {name: own[name]["value"] for name in figures.NAMES} == pytest.approx(expected(told, mask_N)), part
        counts = {name: own["auc"][name] for name in ("rows", "requests", "users")}
        taken_B = mask_N[told.label_N == 1]
        users = len(np.unique(told.user_N[mask_N]))
        assert counts == {"rows": mask_N.sum(), "requests": taken_B.sum(), "users": users}


def test_every_part_of_a_dimension_but_categories_is_told(found: Lines) -> None:
    split = {"activity": 3, "item age": 2, "item popularity": 2, "user": 2, "item": 2}
    assert found["all", "all"]["auc"]["rows"] == sum(found[part]["auc"]["rows"] for part in found if part[0] == "user")
    for dimension, most in split.items():
        of_dimension = [part for part in found if part[0] == dimension]
        assert 1 <= len(of_dimension) <= most, "an empty part has no line"
        assert sum(found[part]["auc"]["rows"] for part in of_dimension) == found["all", "all"]["auc"]["rows"]
    assert {segment for dimension, segment in found if dimension == "category"} == {"even", "odd"}, (
        "not what every item carries, nor what too little of the day does"
    )


def test_intervals_hold_their_value(found: Lines) -> None:
    whole = found["all", "all"]
    for name in ("auc", "gauc", "logloss", "hit@10", "ndcg@10"):
        assert whole[name]["low"] < whole[name]["value"] < whole[name]["high"], name
    assert (whole[COVERAGE]["low"], whole[COVERAGE]["high"]) == (None, None)


def test_what_there_is_none_of_is_none(rows: pa.Table, told: Answers, world: World) -> None:
    positive_N = told.label_N == 1
    alone = rows.filter(pa.array(positive_N))
    lines = figures.measure(alone, told.of(positive_N), world)
    whole = {line["metric"]: line["value"] for line in lines if line["dimension"] == "all"}
    assert (whole["auc"], whole["gauc"]) == (None, None)
    assert whole["logloss"] is not None
    negatives = figures.measure(rows.filter(pa.array(~positive_N)), told.of(~positive_N), world)
    whole = {line["metric"]: line["value"] for line in negatives if line["dimension"] == "all"}
    assert (whole["hit@10"], whole["ndcg@10"], whole[COVERAGE]) == (None, None, None)


def test_padding_covers_nothing(rows: pa.Table, told: Answers, world: World) -> None:
    none = replace(told, found_BK=np.full_like(told.found_BK, PAD))
    lines = figures.measure(rows, none, world)
    assert {line["value"] for line in lines if line["metric"] == COVERAGE} == {0.0}
