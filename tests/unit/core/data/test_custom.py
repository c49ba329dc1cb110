from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.datasets import DATASETS
from core.data.prepare import prepare
from core.errors import UsageError
from core.settings import PROJECT, Workspace

CUSTOM = DATASETS["custom"]
TOML = '[interactions]\nfile = "clicks.csv"\nuser = "u"\nitem = "i"\ntimestamp = "t"\n'
CSV = "u,i,t\n" + "".join(f"u{n % 5},i{n % 7},{1_300_000_000 + n}\n" for n in range(100))


def source(folder: Path, toml: str = TOML, csv: str | bytes = CSV) -> Path:
    (folder / "dataset.toml").write_text(toml)
    (folder / "clicks.csv").write_bytes(csv.encode() if isinstance(csv, str) else csv)
    return folder


def read(folder: Path):
    return CUSTOM.read(CUSTOM.files(folder))


def test_the_example_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    found = prepare(Workspace("custom", "shuffled-ties"), source=PROJECT / "examples" / "custom", seed=1).details
    assert (found["interactions"], found["items"], found["users"], found["rejects"]) == (84, 18, 12, {})


def test_csv_and_parquet_say_the_same(tmp_path):
    whole = (PROJECT / "examples" / "custom" / "dataset.toml").read_text()
    (tmp_path / "dataset.toml").write_text(whole.replace(".csv", ".parquet").replace('separator = "|"', ""))
    for name in ("clicks", "goods", "people"):
        table = pl.read_csv(PROJECT / "examples" / "custom" / f"{name}.csv")
        if "tags" in table.columns:
            table = table.with_columns(pl.col("tags").str.split("|"))
        table.write_parquet(tmp_path / f"{name}.parquet")
    parquet, csv = read(tmp_path), read(PROJECT / "examples" / "custom")
    assert parquet.interactions.equals(csv.interactions)
    assert parquet.items.equals(csv.items)
    assert parquet.users.equals(csv.users)


@pytest.mark.parametrize(
    ("unit", "text"),
    [("s", "1300000000"), ("s", "1300000000.9"), ("ms", "1300000000123"), ("iso", "2011-03-13T07:06:40Z"),
     ("iso", "2011-03-13T08:06:40+01:00"), ("iso", "2011-03-13 07:06:40")],
)  # fmt: skip
def test_units_of_time(tmp_path, unit, text):
    found = read(source(tmp_path, TOML + f'unit = "{unit}"\n', f"u,i,t\na,b,{text}\n"))
    assert found.interactions["timestamp"].to_pylist() == [1_300_000_000]


def test_bad_lines_are_counted_with_their_numbers(tmp_path):
    lines = "a,b\na,b,soon\n,b,5\na,,5\na,b,-5\na,b,99999999999\na,b,5,6\nu0,i0,1300000000\n"
    found = read(source(tmp_path, csv=CSV + lines))
    assert found.interactions.num_rows == 100
    assert sorted((line, kind) for _, line, kind, _ in found.rejects.rows) == [
        (102, "ragged"), (103, "bad_time"), (104, "missing_field"), (105, "missing_field"), (106, "negative_time"),
        (107, "future_time"), (108, "ragged"), (109, "duplicate"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (TOML.replace('"u"', '"who"'), r"no column 'who'; it has u, i, t"),
        (TOML.replace("user =", "usr ="), r"'usr'; choose one of: file, user, item"),
        (TOML.replace('item = "i"\n', ""), r"\[interactions\] lacks item"),
        (TOML + 'unit = "hours"\n', r"'hours'; choose one of: s, ms, iso"),
        (TOML + "[prices]\n", r"'prices'; choose one of: interactions, items, users"),
        (TOML.replace('"i"', "5"), r"item in \[interactions\] is 5; want text"),
        (TOML.replace("clicks.csv", "other.csv"), r"other\.csv is missing; .*dataset\.toml names it"),
        ("not toml", r"no TOML file"),
        ("[items]\n", r"no table \[interactions\]"),
    ],
)
def test_a_wrong_description_is_named(tmp_path, toml, said):
    with pytest.raises(UsageError, match=said):
        read(source(tmp_path, toml))


def test_no_source_says_what_is_wanted(tmp_path):
    with pytest.raises(UsageError, match="needs --source"):
        CUSTOM.files(None)
    with pytest.raises(UsageError, match=r"dataset\.toml is missing"):
        CUSTOM.files(tmp_path)


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "clicks.parquet").write_text("no")
    with pytest.raises(UsageError, match=r"clicks\.parquet is no readable Parquet"):
        read(source(tmp_path, TOML.replace("clicks.csv", "clicks.parquet")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=30).map(lambda line: line.translate(None, b'\r\n"')), max_size=15))
def test_any_bytes_are_interactions_or_rejects(tmp_path, lines):
    found = read(source(tmp_path, csv=CSV.encode() + b"".join(line + b"\n" for line in lines)))
    dropped = sum(kind != "no_metadata" for _, _, kind, _ in found.rejects.rows)
    assert found.interactions.num_rows + dropped == found.rejects.lines
    assert found.interactions.num_rows >= 100
