"""Two runs, releases and days beside each other, as the verb tells it; what cannot be compared is refused."""

import json
import shutil
from pathlib import Path

import pytest

from core import settings, steps, storage
from core.errors import Missing, UsageError
from core.settings import Workspace
from llmcf.compare import comparison, sides
from llmcf.compare.comparison import compare, differences, flat
from tests import trained_runs
from tests.official_files import prepared
from tests.unit.llmcf.compare.conftest import Made

DRAWS = 40
HOME = "movielens-100k/shuffled-ties/latest"


def test_only_fields_that_differ() -> None:
    first = {"a": 1, "b": {"c": 2, "d": {}}, "e": [1, 2]}
    second = {"a": 1, "b": {"c": 3, "d": {}}, "e": [1, 2], "f": {"g": None}}
    assert flat(second) == {"a": 1, "b.c": 3, "b.d": {}, "e": [1, 2], "f.g": None}
    assert differences(first, second) == {"b.c": (2, 3)}


def test_two_runs(made: Made) -> None:
    result = compare("deepfm-none-strict-s2023", "deepfm-none-strict-s2024", draws=DRAWS)
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))["details"]
    assert (told["first"], told["kind"]) == (f"{HOME}/ranking/deepfm-none-strict-s2023", "ranker")
    assert told["config"] == {"seed": {"first": 2023, "second": 2024}}
    assert told["data"]["users"] == {"first": 40, "second": 40}
    run = told["runs"]["ranker"]
    assert run["same_rows"]
    assert run["metrics"]["auc"]["differs"]
    assert set(run["segments"]["older items"]) >= {"rows", "first", "second", "low", "high", "gap", "differs"}
    assert told["measured"]["ranker.valid.auc"]["first"] == pytest.approx(
        storage.read_json(made.rankers[0] / steps.STAMP)["summary"]["metrics"]["valid"]["auc"]
    )
    assert not told["notes"]
    page = Path(result.artifacts["report"])
    assert page.parent.name.startswith("compare-movielens-100k-shuffled-ties-latest-ranking-deepfm-none-strict-s2023-")
    html = page.read_text()
    assert "<svg" in html
    assert "second better" in html
    assert "second better" in told["text"]
    assert (page.parent / "report.md").is_file()


def test_two_releases_of_runs_that_are_there(made: Made) -> None:
    told = compare("release:1", "release:2", draws=DRAWS).details
    assert told["config"]["ranker.seed"] == {"first": 2023, "second": 2024}
    assert set(told["runs"]) == {"ranker", "user tower"}
    assert told["runs"]["ranker"]["metrics"]["auc"]["differs"]
    assert not told["notes"]


def test_a_release_whose_run_is_gone_has_figures_and_no_test(made: Made) -> None:
    aside = made.rankers[0].with_name(".aside")
    made.rankers[0].rename(aside)
    try:
        told = compare("release:1", "release:2", draws=DRAWS).details
    finally:
        aside.rename(made.rankers[0])
    assert set(told["runs"]) == {"user tower"}
    assert "ranker.test.auc" in told["measured"]
    assert any("the ranker's run is gone, or was trained again" in note for note in told["notes"])


def test_two_days(made: Made, source: Path) -> None:
    day = prepared(Workspace(made.ws.dataset, made.ws.order, "1998-01-10"), source)
    try:
        trained_runs.rank(day, signal=0.5)
        told = compare("1998-01-10", "latest", place=("movielens-100k", "shuffled-ties", None), draws=DRAWS).details
    finally:
        shutil.rmtree(day.root)
    assert told["config"] == {"as_of": {"first": "1998-01-10", "second": "latest"}}
    assert told["data"]["interactions"]["first"] < told["data"]["interactions"]["second"]
    (title,) = told["runs"]
    assert title == "ranking/deepfm-none-strict-s2023"
    run = told["runs"][title]
    assert 0 < run["rows"]["common"] < run["rows"]["second"]
    assert any("other test rows" in note for note in told["notes"])
    assert any(note.startswith(f"only {HOME} has") for note in told["notes"])


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("deepfm-none-strict-s2023", "sasrec-none-strict-s2023", "is a ranker and .* a retrieval model; compare two"),
        ("release:1", "deepfm-none-strict-s2023", "release:1 is a release and"),
        ("latest", "release:1", "latest is a day and release:1 a release"),
        ("release:2", "release:live", "are both release:movielens-100k/2; name two things"),
        ("deepfm-none-strict-s2023", "ranking/deepfm-none-strict-s2023", "are both .*; name two things"),
        ("data", "training", "'data' is .*/data, tables; what can be compared"),
        ("deepfm-none-s2023", "release:1", "nothing here is called 'deepfm-none-s2023'; near it: deepfm-none-strict"),
    ],
)
def test_what_cannot_be_compared(made: Made, first: str, second: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare(first, second, draws=DRAWS)


def test_a_day_that_is_not_there(made: Made) -> None:
    with pytest.raises(UsageError, match="1997-01-01 is a day of no data set"):
        compare("1997-01-01", "latest", draws=DRAWS)
    with pytest.raises(Missing, match="run `llmcf data prepare --dataset movielens-100k"):
        compare("1997-01-01", "latest", place=("movielens-100k", None, None), draws=DRAWS)


def test_draws_are_a_number_that_can_be(made: Made) -> None:
    with pytest.raises(UsageError, match="--draws 1 is not between 2 and 100,000"):
        compare("release:1", "release:2", draws=1)


def test_other_data_sets_have_no_common_row(made: Made) -> None:
    other = settings.home() / "shop" / "global-time" / "latest" / "ranking" / made.rankers[0].name
    shutil.copytree(made.rankers[0], other)
    try:
        with pytest.raises(UsageError, match=r"is of movielens-100k and .* of shop: no row is in both"):
            sides.pair(
                f"{HOME}/ranking/{other.name}", f"shop/global-time/latest/ranking/{other.name}", (None, None, None)
            )
    finally:
        shutil.rmtree(settings.home() / "shop")


def test_a_stale_run_says_so(made: Made) -> None:
    path = made.ws.path("data", steps.STAMP)
    stamp = storage.read_json(path)
    storage.write_json(path, {**stamp, "content": "0" * 64})
    try:
        first, second = sides.pair("deepfm-none-strict-s2023", "deepfm-none-strict-s2024", (None, None, None))
        found = comparison.of(first, second, draws=DRAWS)
    finally:
        storage.write_json(path, stamp)
    assert any("deepfm-none-strict-s2023 is stale: " in note for note in found.notes)
