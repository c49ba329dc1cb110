import gzip
import re
from datetime import date, time, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.contracts import FIRST_ID
from core.data import described, relational, tables, vocabulary
from core.data.prepare import prepare
from core.errors import UsageError
from core.settings import PROJECT, Workspace
from tests.shop import Shop, describe, table

WS = Workspace("shop", "published")
TOML = '[interactions]\nfile = "clicks.csv"\nuser = "u"\nitem = "i"\ntimestamp = "t"\n'
CSV = "u,i,t\n" + "".join(f"u{n % 5},i{n % 7},{1_300_000_000 + n}\n" for n in range(100))


def source(folder: Path, toml: str = TOML, csv: str | bytes = CSV) -> Path:
    (folder / "dataset.toml").write_text(toml)
    (folder / "clicks.csv").write_bytes(csv.encode() if isinstance(csv, str) else csv)
    return folder


def read(folder: Path):
    said = described.described(folder / "dataset.toml")
    return described.read(folder, {name: said[name] for name in ("interactions", "items", "users") if name in said})


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))


def prepared(folder: Path, ws: Workspace = WS) -> dict:
    return prepare(ws, source=folder, seed=1).details


def test_the_example_is_prepared(tmp_path):
    found = prepare(Workspace("shop", "shuffled-ties"), source=PROJECT / "examples" / "shop", seed=1).details
    assert (found["interactions"], found["items"], found["users"], found["rejects"]) == (84, 18, 12, {})


def test_csv_and_parquet_say_the_same(tmp_path):
    whole = (PROJECT / "examples" / "shop" / "dataset.toml").read_text()
    (tmp_path / "dataset.toml").write_text(whole.replace(".csv", ".parquet").replace('separator = "|"', ""))
    for name in ("clicks", "goods", "people"):
        table = pl.read_csv(PROJECT / "examples" / "shop" / f"{name}.csv")
        if "tags" in table.columns:
            table = table.with_columns(pl.col("tags").str.split("|"))
        table.write_parquet(tmp_path / f"{name}.parquet")
    parquet, csv = read(tmp_path), read(PROJECT / "examples" / "shop")
    assert parquet.interactions.equals(csv.interactions)
    assert parquet.items.equals(csv.items)
    assert parquet.users.equals(csv.users)


@pytest.mark.parametrize(
    ("unit", "text"),
    [("s", "1300000000"), ("s", "1300000000.9"), ("ms", "1300000000123"), ("iso", "2011-03-13T07:06:40Z"),
     ("iso", "2011-03-13T08:06:40+01:00"), ("iso", "2011-03-13 07:06:40"), ("iso", "2011-03-13 08:06:40.5+01"),
     ("iso", "2011-03-13T08:06:40+01"), ("iso", '"2011-03-13 07:06:40,123"')],
)  # fmt: skip
def test_units_of_time(tmp_path, unit, text):
    found = read(source(tmp_path, TOML + f'unit = "{unit}"\n', f"u,i,t\na,b,{text}\n"))
    assert found.interactions["timestamp"].to_pylist() == [1_300_000_000]


def test_bad_lines_are_counted_with_their_numbers(tmp_path):
    lines = "a,b\na,b,soon\n,b,5\na,,5\na,b,-86400\na,b,99999999999\na,b,5,6\nu0,i0,1300000000\n"
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
        (TOML + 'unit = "hours"\n', r"'hours'; choose one of: s, ms, us, ns, iso"),
        (TOML + "[prices]\n", r"'prices'; choose one of: interactions, items, users"),
        (TOML.replace('"i"', "5"), r"item in \[interactions\] is 5; want text"),
        (TOML.replace("clicks.csv", "other.csv"), r"other\.csv is missing"),
        ("not toml", r"no TOML file"),
        ("[items]\n", r"no table \[interactions\]"),
    ],
)
def test_a_wrong_description_is_named(tmp_path, toml, said):
    with pytest.raises(UsageError, match=said):
        read(source(tmp_path, toml))


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "clicks.parquet").write_text("no")
    with pytest.raises(UsageError, match=r"clicks\.parquet is no readable Parquet"):
        read(source(tmp_path, TOML.replace("clicks.csv", "clicks.parquet")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30).map(lambda line: re.sub('[\r\n"]', "", line)), max_size=15))
def test_any_text_is_interactions_or_rejects(tmp_path, lines):
    text = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
    found = read(source(tmp_path, csv=CSV.encode() + text))
    dropped = sum(kind != "no_metadata" for _, _, kind, _ in found.rejects.rows)
    assert found.interactions.num_rows + dropped == found.rejects.lines
    assert found.interactions.num_rows >= 100


def test_latin_1_is_refused_with_line_and_byte_or_read_as_declared(tmp_path):
    shop = Shop()
    for row in shop.clicks[3:]:
        row["who"] = row["who"].replace("p", "r\u00e9")
    with pytest.raises(UsageError, match=r'clicks\.csv, line 5: byte 0xE9 .*encoding = "latin-1"'):
        prepared(shop.write(tmp_path, encoding="latin-1"))
    shop.toml["interactions"]["encoding"] = "latin-1"
    assert "r\u00e93" in read(shop.write(tmp_path, encoding="latin-1")).interactions["user"].to_pylist()


@pytest.mark.parametrize(("said", "why"), [("klingon", "unknown encoding"), ("base64", "unknown encoding")])
def test_an_encoding_that_does_not_exist_is_named(tmp_path, said, why):
    with pytest.raises(UsageError, match=why):
        read(source(tmp_path, TOML + f'encoding = "{said}"\n'))


def test_a_form_at_the_head_holds_for_all_tables(tmp_path):
    shop = Shop()
    shop.toml = {"delimiter": ";", **shop.toml}
    shop.toml["items"]["delimiter"] = shop.toml["users"]["delimiter"] = ","
    assert read(shop.write(tmp_path, delimiter=";")).interactions.num_rows == 60


def test_another_delimiter_is_suspected(tmp_path):
    with pytest.raises(UsageError, match=r"no column 'who'; .*say delimiter = ';'"):
        read(Shop().write(tmp_path, delimiter=";"))


def test_a_description_with_a_byte_order_mark_is_read(tmp_path):
    shop = Shop()
    shop.write(tmp_path)
    for encoding in ("utf-8-sig", "utf-16"):
        describe(tmp_path, shop.toml, encoding=encoding)
        assert read(tmp_path).interactions.num_rows == 60


def test_one_file_for_three_tables_counts_its_lines_once(tmp_path):
    shop = Shop()
    ages = {row["who"]: row["age"] for row in shop.people}
    for row in shop.clicks:
        row |= {"name": f"Good {row['sku']}", "age": ages[row["who"]]}
    shop.write(tmp_path)
    shop.toml["items"] = {"file": "clicks.csv", "item": "sku", "title": "name"}
    shop.toml["users"] = {"file": "clicks.csv", "user": "who", "age": "age"}
    describe(tmp_path, shop.toml)
    lines = (tmp_path / "clicks.csv").read_text().splitlines()
    lines[7] += ",too,many"
    (tmp_path / "clicks.csv").write_text("\n".join(lines))
    found = read(tmp_path)
    assert (found.rejects.lines, found.rejects.others, found.rejects.counts()) == (60, {}, {"ragged": 1})
    assert (len(found.items), len(found.users)) == (10, 12)


def test_lost_lines_of_another_file_count_against_that_file(tmp_path):
    shop = Shop()
    shop.write(tmp_path)
    lines = (tmp_path / "goods.csv").read_text().splitlines()
    (tmp_path / "goods.csv").write_text("\n".join([*lines[:4], lines[4] + ",x", *lines[5:]]))
    with pytest.raises(UsageError, match=r"1 of 10 lines \(10\.0%\) of goods\.csv cannot be used: 1 ragged"):
        prepared(tmp_path)


def test_whole_numbers_are_whole_in_every_column(tmp_path):
    """Ids went through a float, a decimal and a text: they meet, and leading zeros stay."""
    shop = Shop()
    number = {f"g{n}": 100 + n for n in range(10)}
    folder = shop.write(tmp_path)
    frame = pl.DataFrame([{**row, "sku": number[row["sku"]], "who": int(row["who"][1:])} for row in shop.written()])
    gap = pl.DataFrame([{"at": "2025-03-01T00:00:00Z", "who": None, "sku": None}], schema=frame.schema)
    typed = pl.concat([frame, gap]).with_columns(pl.col("sku").cast(pl.Float64), pl.col("who").cast(pl.Decimal(38, 10)))
    typed.write_parquet(folder / "clicks.parquet")
    table(folder / "goods.csv", [{**row, "sku": number[row["sku"]]} for row in shop.goods])
    table(folder / "people.csv", [{**row, "who": f"{row['who'][1:]}.000"} for row in shop.people])
    shop.toml["interactions"]["file"] = "clicks.parquet"
    describe(folder, shop.toml)
    found = prepare(WS, source=folder, seed=1, max_rejects=0.05).details["intake"]
    assert {kind: one["count"] for kind, one in found["without_metadata"].items()} == {"items": 0, "users": 0}
    assert found["rejected"]["missing_field"]["count"] == 1
    assert tables.items(WS)["raw_id"].to_pylist()[0] == "100"


def test_ids_that_lost_digits_or_are_no_whole_numbers_are_rejected(tmp_path):
    shop = Shop()
    shop.write(tmp_path)
    ids = [7.5, 1e17, *[float(n % 10) for n in range(58)]]
    pl.DataFrame(shop.written()).with_columns(sku=pl.Series(ids)).write_parquet(tmp_path / "clicks.parquet")
    shop.toml["interactions"]["file"] = "clicks.parquet"
    describe(tmp_path, shop.toml)
    assert read(tmp_path).rejects.counts() == {"bad_id": 2}


@pytest.mark.parametrize("spelt", ["{:05d}", "SKU-{}", "{}.5"])
def test_metadata_that_meet_nobody_are_a_warning_with_both_spellings(tmp_path, spelt, capsys):
    shop = Shop()
    shop.goods = [{**row, "sku": spelt.format(int(row["sku"][1:]))} for row in shop.goods]
    found = prepared(shop.write(tmp_path))["intake"]
    assert found["without_metadata"]["items"] == {"count": 10, "of": 10, "samples": ["g0", "g1"]}
    (warning,) = found["warnings"]
    assert "'g0', 'g1'" in warning
    assert spelt.format(0) in warning
    assert warning in capsys.readouterr().err


def test_few_without_metadata_are_counted_and_no_warning(tmp_path):
    shop = Shop()
    del shop.goods[3]
    found = prepared(shop.write(tmp_path))["intake"]
    assert found["without_metadata"]["items"] == {"count": 1, "of": 10, "samples": ["g3"]}
    assert found["warnings"] == []


def test_placeholders_for_no_date_are_counted_and_do_not_stretch_the_span(tmp_path):
    shop = Shop(people=40)
    placeholders = ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "-", "9999-12-31T00:00:00Z")
    for at, row in zip(placeholders, shop.clicks[:4], strict=True):
        row["at"] = at
    found = prepared(shop.write(tmp_path))["intake"]
    assert {kind: one["count"] for kind, one in found["rejected"].items()} == {"no_date": 3, "future_time": 1}
    assert (found["first_day"], found["last_day"]) == ("2025-03-01", "2025-03-05")
    assert "clicks.csv, line" in found["warnings"][0]


def test_many_placeholders_are_refused(tmp_path):
    shop = Shop()
    for row in shop.clicks[:20]:
        row["at"] = "1970-01-01T00:00:00Z"
    with pytest.raises(UsageError, match=r"20 of 60 lines .*20 no_date"):
        prepared(shop.write(tmp_path))


def stamped(shop: Shop, factor: float, unit: str) -> None:
    for row in shop.clicks:
        row["at"] = int(row["at"].timestamp() * factor)
    shop.toml["interactions"]["unit"] = unit


@pytest.mark.parametrize(
    ("factor", "said", "meant"),
    [(1, "ms", "s"), (1000, "s", "ms"), (10**6, "s", "us"), (10**9, "ms", "ns"), (10**6, "ms", "us"), (1, "iso", "s")],
)
def test_a_wrong_unit_is_refused_with_the_right_one(tmp_path, factor, said, meant):
    shop = Shop()
    stamped(shop, factor, said)
    with pytest.raises(UsageError, match=f'2025-03-01 to 2025-03-05: say unit = "{meant}"'):
        prepared(shop.write(tmp_path))
    shop = Shop()
    stamped(shop, factor, meant)
    assert prepared(shop.write(tmp_path))["interactions"] == 60


def test_two_units_in_one_column_are_refused(tmp_path):
    shop = Shop()
    stamped(shop, 1000, "ms")
    for row in shop.clicks[:5]:
        row["at"] //= 1000
    with pytest.raises(
        UsageError, match=r'5 of 60 times, .* between 1970-01-21 and 1970-01-21 as unit = "ms"; as "s" 5'
    ):
        prepared(shop.write(tmp_path))


def test_a_description_in_latin_1_is_named(tmp_path):
    shop = Shop()
    shop.toml["interactions"]["user"] = "kund\u00e9"
    shop.write(tmp_path)
    describe(tmp_path, shop.toml, encoding="latin-1")
    with pytest.raises(UsageError, match=r"dataset\.toml, line 3: byte 0xE9 .* save it as UTF-8"):
        read(tmp_path)


def test_dates_declared_as_seconds_are_refused(tmp_path):
    shop = Shop()
    del shop.toml["interactions"]["unit"]
    with pytest.raises(UsageError, match=r'cannot be read as unit = "s"; .*say unit = "iso"'):
        prepared(shop.write(tmp_path))


def test_typed_times_need_no_unit(tmp_path):
    shop = Shop()
    shop.write(tmp_path)
    frame = pl.DataFrame(shop.clicks)
    for form in (
        pl.col("at"),
        pl.col("at").dt.replace_time_zone(None),
        pl.col("at").dt.convert_time_zone("Asia/Tokyo"),
    ):
        frame.with_columns(form).write_parquet(tmp_path / "clicks.parquet")
        shop.toml["interactions"] |= {"file": "clicks.parquet", "unit": "s"}
        describe(tmp_path, shop.toml)
        assert min(read(tmp_path).interactions["timestamp"].to_pylist()) == 1_740_787_200


def test_everything_on_one_day_or_before_1990_is_refused(tmp_path):
    shop = Shop(taken=1)
    with pytest.raises(UsageError, match=r"all 12 interactions are of one day, 2025-03-01"):
        prepared(shop.write(tmp_path))
    shop = Shop()
    for row in shop.clicks:
        row["at"] = row["at"].replace(year=1975)
    with pytest.raises(UsageError, match="between 1975-03-01 and 1975-03-05, before 1990"):
        prepared(shop.write(tmp_path))


def test_a_user_who_has_everything_is_named_by_its_own_id(tmp_path, capsys):
    shop = Shop()
    for n in range(10):
        shop.click("p3", f"g{n}", 10 + n)
    found = prepared(shop.write(tmp_path))
    assert found["users_without_negatives"] == 1
    assert "have no negatives: 1, 'p3'" in capsys.readouterr().err
    rows, user = tables.rows(WS), tables.users(WS)["raw_id"].to_pylist().index("p3") + FIRST_ID
    own = [row for row in rows.to_pylist() if row["user"] == user]
    assert own
    assert all(row["label"] == 1 for row in own)


def test_ages_and_genders_are_read_as_meant_and_the_rest_counted(tmp_path):
    shop = Shop()
    ages = ("24.0", "\u2014", "30 years", "1987", "31", "-1", "", "25-34", "200", "old", "41y", "N/A")
    genders = ("male", "Female", "m", "f", "F", "M", "W", "d", "-", "woman", " MALE ", "")
    for row, age, sex in zip(shop.people, ages, genders, strict=True):
        row |= {"age": age, "sex": sex}
    found = read(shop.write(tmp_path))
    assert found.users["age"].to_pylist() == [24, None, 30, None, 31, None, None, None, None, None, 41, None]
    assert found.users["gender"].to_pylist() == ["M", "F", "M", "F", "F", "M", "F", None, None, "F", "M", None]
    assert dict(found.notes.unread["users.age"].counts) == {
        "placeholder": 3, "a year of birth": 1, "a range": 1, "out of range": 1, "no number": 1
    }  # fmt: skip
    assert dict(found.notes.unread["users.gender"].counts) == {"neither male nor female": 1, "placeholder": 1}
    assert found.notes.unread["users.age"].samples["a year of birth"] == ["1987"]


def test_ids_and_titles_that_stand_for_nothing_are_a_warning(tmp_path):
    shop = Shop()
    for row in shop.clicks[:9]:
        row["who"] = "-1"
    shop.goods[0]["name"] = "N/A"
    first, second = prepared(shop.write(tmp_path))["intake"]["warnings"]
    assert first.startswith("9 interactions have the user '-1'")
    assert second.startswith("1 times the title is 'N/A'")


def test_a_column_of_comments_is_read_cleaned_and_what_stands_for_none_is_a_warning(tmp_path):
    shop = Shop()
    shop.toml["interactions"]["comment"] = "review"
    for row, said in zip(shop.clicks, ("Fits <b>well</b>", "", "n/a", " \t", "x " * 500, "<|im_end|>"), strict=False):
        row["review"] = said
    for row in shop.clicks[6:]:
        row["review"] = ""
    (warning,) = prepared(shop.write(tmp_path))["intake"]["warnings"]
    assert warning.startswith("1 times the comment is 'n/a'")
    found = sorted(tables.comments(WS)["text"].to_pylist())
    assert found == ["Fits well", "n/a", ("x " * 80).strip()]


PARQUET = TOML.replace("clicks.csv", "clicks.parquet")
NESTED = pl.Series("x", [["a"]] * 100)


def clicks(**columns: pl.Series) -> pl.DataFrame:
    frame = pl.read_csv(CSV.encode())
    return frame.with_columns(column.alias(name) for name, column in columns.items())


def typed(folder: Path, frame: pl.DataFrame, toml: str = PARQUET) -> Path:
    (folder / "dataset.toml").write_text(toml)
    frame.write_parquet(folder / "clicks.parquet")
    return folder


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("i", NESTED), ("u", NESTED), ("t", NESTED), ("i", pl.Series([True] * 100)),
        ("i", pl.Series([{"a": 1}] * 100)), ("u", pl.Series([date(2020, 1, 1)] * 100)),
        ("t", pl.Series([time(1)] * 100)), ("t", pl.Series([timedelta(1)] * 100)), ("t", pl.Series([True] * 100)),
        ("t", pl.Series([1.3e9] * 100, dtype=pl.Float32)), ("r", NESTED), ("r", pl.Series([{"a": 1}] * 100)),
    ],
)  # fmt: skip
def test_a_column_of_a_type_that_cannot_be_meant_is_refused(tmp_path: Path, name: str, column: pl.Series):
    toml = PARQUET + ('rating = "r"\n' if name == "r" else "")
    with pytest.raises(UsageError, match=rf"clicks\.parquet: the column '{name}' holds \w+.*; want ") as error:
        read(typed(tmp_path, clicks(**{name: column}), toml))
    assert str(error.value).isprintable()


GOODS = PARQUET + '[items]\nfile = "goods.parquet"\nitem = "i"\ntitle = "n"\ncategories = "c"\nseparator = "|"\n'


def goods(folder: Path, name: str, column: pl.Series) -> Path:
    table = pl.DataFrame({"i": ["i0"], "n": ["Name"], "c": ["a|b"]}).with_columns(column.alias(name))
    table.write_parquet(folder / "goods.parquet")
    return typed(folder, clicks(), GOODS)


@pytest.mark.parametrize(
    ("column", "categories"),
    [
        (pl.Series([["a", "b"]]), ["a", "b"]),
        (pl.Series([[b"a", b"caf\xe9"]]), ["a", "caf\ufffd"]),
        (pl.Series([["a", "b"]], dtype=pl.Array(pl.String, 2)), ["a", "b"]),
        (pl.Series([[1, 2]]), ["1", "2"]),
        (pl.Series(["a|b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series([date(2020, 1, 1)]), ["2020-01-01"]),
    ],
)
def test_categories_of_any_type_are_texts(tmp_path: Path, column: pl.Series, categories: list[str]):
    assert read(goods(tmp_path, "c", column)).items["categories"].to_pylist() == [categories]


@pytest.mark.parametrize(
    ("name", "column"),
    [("c", pl.Series([[["a"]]])), ("c", pl.Series([[{"a": 1}]])), ("n", pl.Series([["a"]])), ("i", pl.Series([["a"]]))],
)
def test_lists_where_one_text_is_meant_are_refused(tmp_path: Path, name: str, column: pl.Series):
    with pytest.raises(UsageError, match=rf"goods\.parquet: the column '{name}' holds .*; want one text or number"):
        read(goods(tmp_path, name, column))


def test_parts_may_store_the_same_column_as_other_types(tmp_path: Path):
    moments = pl.from_epoch(pl.Series(range(1_300_000_000, 1_300_000_100)), "s")
    (tmp_path / "clicks.parquet").mkdir()
    for number, column in enumerate((moments, moments.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"))):
        part = clicks(t=column)[number * 50 : number * 50 + 50]
        part.write_parquet(tmp_path / "clicks.parquet" / f"{number}.parquet")
    (tmp_path / "goods.parquet").mkdir()
    for number, column in enumerate((pl.Series([["a", "b"]]), pl.Series(["a|b"]))):
        part = pl.DataFrame({"i": [f"i{number}"], "n": ["Name"]}).with_columns(column.alias("c"))
        part.write_parquet(tmp_path / "goods.parquet" / f"{number}.parquet")
    (tmp_path / "dataset.toml").write_text(GOODS)
    found = read(tmp_path)
    assert found.interactions["timestamp"].to_pylist() == list(range(1_300_000_000, 1_300_000_100))
    assert found.items["categories"].to_pylist() == [["a", "b"], ["a", "b"]]


SECONDS = pl.Series(range(1_300_000_000, 1_300_000_100))


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        ("s", SECONDS),
        ("s", SECONDS.cast(pl.String)),
        ("ms", SECONDS * 1_000),
        ("ns", SECONDS * 1_000_000_000),
        ("iso", pl.from_epoch(SECONDS, "s").dt.strftime("%Y-%m-%dT%H:%M:%S")),
    ],
)
def test_parts_may_store_times_and_write_them(tmp_path: Path, unit: str, written: pl.Series):
    """As when an export changed its types: the older parts have a typed column."""
    (tmp_path / "clicks.parquet").mkdir()
    for number, column in enumerate((pl.from_epoch(SECONDS, "s"), written)):
        part = clicks(t=column)[number * 50 : number * 50 + 50]
        part.write_parquet(tmp_path / "clicks.parquet" / f"{number}.parquet")
    (tmp_path / "dataset.toml").write_text(PARQUET + f'unit = "{unit}"\n')
    assert read(tmp_path).interactions["timestamp"].to_pylist() == SECONDS.to_list()


@pytest.mark.parametrize("rating", ["1e39", "inf", "-inf"])
def test_a_rating_that_no_float32_holds_is_counted(tmp_path: Path, rating: str):
    csv = CSV.replace("t\n", "t,r\n", 1)
    csv = "\n".join(line + (",4" if number else "") for number, line in enumerate(csv.strip().split("\n")))
    found = read(source(tmp_path, TOML + 'rating = "r"\n', csv.replace(",4", f",{rating}", 1)))
    assert found.notes.unread["interactions.rating"].counts == {"out of range": 1}
    assert found.interactions["rating"].to_pylist()[:2] == [None, 4.0]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('ordr = "published"\n' + TOML, "unknown table or key .* 'ordr'; choose one of: .*words, order"),
        ('items = "goods.csv"\n' + TOML, r"items is 'goods.csv'; want one table \[items\]"),
        (TOML.replace("[interactions]", "[[interactions]]"), r"want one table \[interactions\]"),
        (TOML.replace("clicks.csv", "clicks\\u0000.csv"), r"file in \[interactions\] is 'clicks\\x00.csv'"),
        (TOML.replace("clicks.csv", "x" * 300), "cannot be read .File name too long.; .*dataset.toml names it"),
    ],
)
def test_a_description_that_cannot_be_followed_is_one_line(tmp_path: Path, toml: str, said: str):
    with pytest.raises(UsageError, match=said) as error:
        described.adopt("shop", source(tmp_path, toml))
    assert str(error.value).isprintable()


def test_a_refusal_shows_a_line_with_its_file(tmp_path: Path):
    csv = re.sub(r",1300000\d\d\d", ",13/03/11", CSV)
    with pytest.raises(UsageError, match=r"100 bad_time .*such as clicks\.csv, line 2: 13/03/11\); --max-rejects"):
        prepared(source(tmp_path, TOML + 'unit = "iso"\n', csv))


def test_a_file_that_ends_early_is_taken_when_asked(tmp_path: Path):
    shop = Shop(taken=40, goods=60)
    shop.write(tmp_path)
    whole = gzip.compress((tmp_path / "clicks.csv").read_bytes())
    (tmp_path / "clicks.csv").write_bytes(whole[: -len(whole) // 4])
    with pytest.raises(UsageError, match=r"ends early \(clicks\.csv, line \d+: .*--max-rejects 1"):
        prepared(tmp_path)
    found = prepare(WS, source=tmp_path, seed=1, max_rejects=1).details
    assert found["rejects"]["truncated"] == 1
    assert 200 < found["interactions"] < 480


@pytest.mark.parametrize("column", ["who", "sku"])
def test_a_refused_preparation_gives_nobody_a_row(tmp_path: Path, column: str):
    shop = Shop()
    shop.clicks = [row | {column: "only"} for row in shop.clicks]
    with pytest.raises(UsageError, match="no negative is left"):
        prepared(shop.write(tmp_path / "export"))
    assert vocabulary.rows("shop", "users") == vocabulary.rows("shop", "items") == {}


def test_a_vocabulary_that_grows_meanwhile_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check, turns = relational._check, []

    def meanwhile(*given) -> list[int]:
        if not turns:
            vocabulary.grow("shop", "users", ["somebody else"])
        turns.append(given)
        return check(*given)

    monkeypatch.setattr(relational, "_check", meanwhile)
    prepared(Shop().write(tmp_path / "export"))
    assert len(turns) == 2
    rows = vocabulary.rows("shop", "users")
    assert rows["somebody else"] == FIRST_ID
    assert set(tables.interactions(WS)["user"].to_pylist()) == set(rows.values()) - {FIRST_ID}


@pytest.mark.parametrize("cell", ['{"en": "Chair"}', '["Chair"]'])
def test_a_structure_of_json_is_no_title(tmp_path: Path, cell: str):
    source(tmp_path, TOML + '[items]\nfile = "goods.jsonl"\nitem = "i"\ntitle = "n"\n')
    (tmp_path / "goods.jsonl").write_text(f'{{"i": "i0", "n": {cell}}}\n')
    with pytest.raises(UsageError, match=r"goods\.jsonl: the column 'n' holds .*; want one text or number a row"):
        read(tmp_path)
