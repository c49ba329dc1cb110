"""`llmcf backfill metrics` on a small MovieLens: releases of invented weights, and days that each of them may score."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from core.data import tables
from core.errors import LlmcfError
from core.settings import PROJECT, Workspace
from llmcf import api
from llmcf.cli import app
from llmcf.daily import backfill, partitions, scoring
from llmcf.daily.choosing import date_of, number_of
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from tests.official_files import START, prepared
from tests.online_release import make_release
from tests.synthetic_release import pruned

pytestmark = pytest.mark.integration
FIRST = START // 86_400
DATASET, ORDER = "movielens-100k", "shuffled-ties"
KNOWN = {1: 60, 2: 70}  # releases, by the days that they know
DAYS = 58, 74  # that are measured


def day(number: int) -> str:
    """The day of that number since the data's first."""
    return str(date_of(FIRST + number))


@pytest.fixture(scope="module")
def world(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """All there is, with a release of the data before day 60 and one of the data before day 70."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setenv("LLMCF_RUNS", str(tmp_path_factory.mktemp("runs")))
        for number in KNOWN.values():
            make_release(prepared(Workspace(DATASET, ORDER, day(number)), source), seed=number)
        yield prepared(Workspace(DATASET, ORDER), source)


def filled(first: int = DAYS[0], last: int = DAYS[1], **choice: Any) -> dict[str, Any]:
    return backfill.backfill(DATASET, ORDER, first=day(first), last=day(last), **choice).details


def taken_on(ws: Workspace) -> set[int]:
    return set((tables.interactions(ws)["day"].to_numpy() - FIRST).tolist())


def files() -> dict[str, bytes]:
    """What is written, by its path."""
    root = partitions.root(DATASET, ORDER)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def month(world: Workspace) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the verb tells of all days at once, and its files."""
    del world
    told = filled()
    return told, files()


@pytest.fixture
def anew(month: Any) -> Iterator[None]:
    """Without a file; those of the month come back afterwards."""
    root = partitions.root(DATASET, ORDER)
    shutil.rmtree(root, ignore_errors=True)
    yield
    shutil.rmtree(root, ignore_errors=True)
    for name, content in month[1].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_each_day_is_scored_by_the_newest_release_of_earlier_days(world: Workspace, month: Any) -> None:
    told, written = month
    days = [number for number in range(DAYS[0], DAYS[1] + 1) if number in taken_on(world)]
    expected = {day(number): 1 if number < KNOWN[2] else 2 for number in days if number >= KNOWN[1]}
    assert told["scored"] == expected
    assert set(expected.values()) == {1, 2}
    assert list(told["missing"]) == [day(number) for number in days if number < KNOWN[1]]
    assert told["missing"]
    assert told["empty"] == [day(number) for number in range(DAYS[0], DAYS[1] + 1) if number not in days]
    names = [f"day={one}/release={number}.parquet" for one, number in expected.items()]
    assert sorted(written) == sorted([*names, *(f"day={one}/missing.parquet" for one in told["missing"])])
    figures = partitions.read(DATASET, ORDER).to_pylist()
    whole = {(str(one["day"]), one["metric"]): one for one in figures if one["segment"] == "all"}
    taken = tables.interactions(world)["day"].to_numpy() - FIRST
    for number in (number for number in days if number >= KNOWN[1]):
        assert whole[day(number), "auc"]["requests"] == (taken == number).sum()
        assert 0 <= whole[day(number), "auc"]["value"] <= 1
    assert {one["dimension"] for one in figures} >= {"all", "activity", "item age", "item popularity", "user", "item"}


def test_day_by_day_the_files_are_the_same_to_the_byte(anew: None, month: Any, source: Path) -> None:
    """As the DAG asks, each day from the workspace of the day after it where there is one."""
    del anew
    prepared(Workspace(DATASET, ORDER, day(66)), source)
    for number in range(DAYS[0], DAYS[1] + 1):
        filled(number, number, as_of=day(66) if number < 66 else None)
    assert files() == month[1]


def test_workers_write_the_same(anew: None, month: Any) -> None:
    del anew
    filled(workers=2)
    assert files() == month[1]


def test_what_is_there_is_not_made_again(month: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_one_by_one", lambda job: pytest.fail(f"{job.name} is asked"))
    told = filled()
    assert (told["scored"], told["current"]) == ({}, month[0]["scored"])
    assert files() == month[1]


def test_killed_anywhere_it_goes_on(anew: None, month: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del anew
    write, left = partitions.write, [4]

    def dying(*arguments: Any) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(*arguments)

    monkeypatch.setattr(partitions, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        filled()
    assert len(files()) == 4
    left[0] = -1
    told = filled()
    assert len(told["current"]) == 4
    assert files() == month[1]


def test_a_damaged_file_is_made_again(month: Any) -> None:
    name = f"day={next(iter(month[0]['scored']))}/release=1.parquet"
    path = partitions.root(DATASET, ORDER) / name
    path.write_bytes(month[1][name][:-100])
    assert list(filled()["scored"]) == [path.parent.name.removeprefix("day=")]
    assert files() == month[1]


def test_a_release_that_is_asked_for_scores_later_days_alone(anew: None, world: Workspace) -> None:
    del anew
    with pytest.raises(
        LlmcfError, match=rf"release 2 was trained on days up to {day(69)}: .*{day(69)} would be a leak"
    ):
        filled(69, 72, release=2)
    assert not files()
    told = filled(70, 74, release=1)
    later = [number for number in range(70, 75) if number in taken_on(world)]
    assert told["scored"] == {day(number): 1 for number in later}
    both = filled(70, 74)
    assert both["scored"] == {day(number): 2 for number in later}, "beside the older one's"
    assert len(files()) == 2 * len(later)


def planted(number: int, as_of: str) -> Release:
    """Release 2 under another number, that says to be of other days."""
    release = releases.read(DATASET, 2)
    copy = dataclasses.replace(release, number=number, as_of=as_of, score={})
    shutil.copytree(release.folder, copy.folder)
    copy.write(copy.folder)
    return copy


def test_a_release_that_knows_the_day_is_found_out(anew: None) -> None:
    """Its manifest says that it is of earlier days, and its examples and items are of the day itself."""
    del anew
    leaky = planted(3, day(65))
    shutil.copytree(Workspace(DATASET, ORDER, day(70)).path("milvus.db"), leaky.workspace.path("milvus.db"))
    try:
        with pytest.raises(LlmcfError, match=rf"release 3 is of days before {day(65)}, .* hold one of {day(69)}"):
            filled(65, 66)
    finally:
        shutil.rmtree(leaky.folder)
        shutil.rmtree(leaky.workspace.root)
    assert not files()


def test_a_release_of_all_there_is_scores_none_of_it(month: Any) -> None:
    every = planted(3, "latest")
    try:
        assert filled()["current"] == month[0]["scored"]
    finally:
        shutil.rmtree(every.folder)


def test_days_of_a_removed_release_are_missing_and_those_it_scored_stay(anew: None, month: Any, source: Path) -> None:
    del anew
    filled(70, 71)
    scored = files()
    third = planted(3, day(76))
    releases.promote(third)
    assert pruned(DATASET, keep=1) == [1, 2]
    try:
        told = filled()
        assert set(told["current"].values()) == {2}
        assert not told["scored"]
        assert set(told["missing"]) == (set(month[0]["scored"]) | set(month[0]["missing"])) - set(told["current"])
        reasons = {why.partition(",")[0] for one, why in told["missing"].items() if one >= day(60)}
        assert reasons == {"release 1", "release 2"}
        assert {name: content for name, content in files().items() if "missing" not in name} == scored
    finally:
        for kept in (releases.manifest.root(DATASET) / "gone").iterdir():
            shutil.rmtree(kept)


def test_duckdb_reads_them_as_the_page_says(month: Any) -> None:
    page = (PROJECT / "docs" / "analysts.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"^```sql\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    place = "var/shop/metrics/shuffled-ties"
    assert query.count(place) == 1
    asked = query.replace(place, str(partitions.root(DATASET, ORDER)))
    found = duckdb.connect().execute(asked).fetchall()
    assert {str(one[0]): one[1] for one in found} == month[0]["scored"], "missing days have no AUC"
    told = api.daily_metrics(Workspace(DATASET, ORDER)).to_pylist()
    auc = {str(one["day"]): one["value"] for one in told if (one["metric"], one["segment"]) == ("auc", "all")}
    assert {str(one[0]): one[2] for one in found} == auc
    missing = api.daily_metrics(Workspace(DATASET, ORDER), day(58), day(58)).to_pylist()
    assert [one["missing"] for one in missing] == [month[0]["missing"][day(58)]]


def run(*words: str) -> tuple[int, str]:
    """Exit code and last line of the verb."""
    try:
        app(["backfill", "metrics", "--dataset", DATASET, *words], standalone_mode=False)
    except LlmcfError as error:
        return error.exit_code, str(error)
    return 0, ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--from", "yesterday", "--to", day(61)], 2, "--from 'yesterday' is not a date like 2026-01-31"),
        (["--from", "", "--to", ""], 2, "--from '' is not a date"),
        (["--from", day(62), "--to", day(61)], 2, f"--from {day(62)} is after --to {day(61)}"),
        (["--from", day(61), "--to", day(61), "--workers", "0"], 2, "--workers 0 is not between 1 and 64"),
        (["--from", day(61), "--to", day(61), "--release", "9"], 2, "there is no release 9"),
        (["--from", day(61), "--to", day(61), "--as-of", day(60)], 2, f"holds the days before {day(60)}"),
        (["--from", day(61), "--to", day(61), "--as-of", day(90)], 1, f"run `llmcf data prepare .*{day(90)}` first"),
        (["--from", day(61), "--to", day(61), "--order", "published"], 1, "run `llmcf data prepare"),
        (["--from", day(61), "--to", day(61), "--rebuild", "--release", "1"], 2, "give one of them"),
        (["--from", "1900-01-01", "--to", day(61)], 2, "more than 3,660 days"),
    ],
)
def test_what_is_wrong_is_said_and_writes_nothing(anew: None, words: list[str], code: int, said: str) -> None:
    del anew
    found, text = run(*words)
    assert found == code
    assert np.char.find(text, said.split(".*")[0].split("run `")[-1]) >= 0, text
    assert not files()


def test_a_day_without_data_fails_and_every_other_day_is_done(anew: None, world: Workspace) -> None:
    del anew
    empty = next(number for number in range(61, 69) if number not in taken_on(world))
    code, text = run("--from", day(empty), "--to", day(empty))
    assert code == 1
    assert f"nothing was taken on {day(empty)}, as far as" in text
    assert not files()
    code, _ = run("--from", day(60), "--to", day(empty))
    assert code == 1
    assert len(files()) == len([number for number in taken_on(world) if 60 <= number <= empty])


def test_a_late_day_is_done_once_its_data_are_there(anew: None, source: Path, tmp_path: Path, world: Workspace) -> None:
    """Its workspace is not there, or was prepared before the day was over."""
    del anew, world, tmp_path
    late = Workspace(DATASET, ORDER, day(63))
    words = ["--from", day(62), "--to", day(62), "--as-of", late.as_of]
    code, text = run(*words)
    assert code == 1
    assert f"--as-of {late.as_of}` first" in text
    prepared(late, source)
    (late.path("data") / "rows.parquet").write_bytes(b"half")
    assert run(*words)[0] == 1, "half-written"
    shutil.rmtree(late.path("data"))
    prepared(late, source)
    assert run(*words)[0] == 0
    assert number_of(late.as_of) - FIRST == 63
    assert len(files()) == 1
