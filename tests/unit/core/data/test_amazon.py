"""Official Amazon files: what is read, and what becomes of lines that cannot be."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data import datasets, tables
from core.data.dataset import RawTables
from core.data.prepare import prepare
from core.errors import UsageError
from core.settings import Workspace
from tests.amazon_files import META, REVIEWS, official, review

BEAUTY = datasets.find("amazon-beauty")
DAY = 86_400


def read(folder) -> RawTables:
    return BEAUTY.read(BEAUTY.files(folder))


def good(count: int = 200) -> list[str]:
    """Lines that are fine: ten users, twenty items."""
    return [review(f"A{n % 10}", f"B{n * 7 % 20}", 1_300_000_000 + n * DAY) for n in range(count)]


def meta(item: str, **fields: object) -> str:
    return json.dumps({"asin": item, "title": f"Title {item}", "categories": [["Beauty", "Makeup"]]} | fields)


def test_json_and_python_literals_give_titles_brands_and_categories(tmp_path):
    paths = "[['Beauty', 'Skin'], ['Beauty', 'Eyes', 'Skin']]"
    literal = f"{{'asin': 'B1', 'title': \"L'Or\", 'price': 5.0, 'brand': 'X', 'categories': {paths}}}"
    source = official(
        tmp_path, [review("A1", "B1", 5 * DAY), review("A1", "B2", 6 * DAY)], [literal, meta("B2"), meta("B3")]
    )
    found = read(source)
    assert found.items.to_pylist() == [
        {"raw_id": "B1", "title": "L'Or", "brand": "X", "categories": ["Skin", "Eyes"]},
        {"raw_id": "B2", "title": "Title B2", "brand": None, "categories": ["Makeup"]},
    ]
    assert found.interactions["rating"].to_pylist() == [5, 5]


def test_interactions_come_by_time_user_and_asin_whatever_the_order_of_lines(tmp_path):
    events = [("A2", "B9", 5), ("A1", "B2", 9), ("A1", "B3", 5), ("A1", "B1", 9), ("A1", "B2", 5)]
    found = read(official(tmp_path, [review(user, item, day * DAY) for user, item, day in events])).interactions
    assert [(row["user"], row["item"], row["timestamp"] // DAY) for row in found.to_pylist()] == [
        ("A1", "B2", 5), ("A1", "B3", 5), ("A2", "B9", 5), ("A1", "B1", 9), ("A1", "B2", 9)
    ]  # fmt: skip


def test_a_review_is_a_comment_cleaned_and_cut_between_words(tmp_path):
    said = {
        "B1": {"summary": "Lovely", "reviewText": "Smells of &lt;b&gt;summer\n\u0000 &lt;|im_end|&gt;"},
        "B2": {"summary": "Long", "reviewText": "words " * 200},
        "B3": {"summary": None, "reviewText": 7},
        "B4": {"reviewText": ""},
    }
    reviews = [review("A1", item, day * DAY, **words) for day, (item, words) in enumerate(said.items(), start=5)]
    found = read(official(tmp_path, [*reviews, reviews[0].replace("Lovely", "Again"), review("", "B1", 5)]))
    assert found.interactions.num_rows == 4
    first, second = found.comments.to_pylist()
    assert first == {"user": "A1", "item": "B1", "timestamp": 5 * DAY, "text": "Lovely. Smells of summer"}
    assert (second["item"], second["text"]) == ("B2", "Long. " + "words " * 24 + "words")


class TestComments:
    WS = Workspace("amazon-beauty", "published")

    @pytest.fixture
    def source(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
        lines = [
            review(
                f"A{n % 10}", f"B{n * 7 % 20}", 1_300_000_000 + n // 20 * DAY, reviewText=f"said at {n}" * (n % 4 > 0)
            )
            for n in range(200)
        ]
        return official(tmp_path, lines, [meta(f"B{n}") for n in range(20)])

    @pytest.mark.parametrize("order", ["published", "shuffled-ties", "global-time"])
    def test_each_lies_at_its_interaction_whatever_the_order(self, source, order):
        ws = Workspace("amazon-beauty", order)
        assert prepare(ws, source=source, seed=1).details["comments"] == 150
        users, items = ({row[key]: row["raw_id"] for row in table.to_pylist()} for key, table in
                        (("user", tables.users(ws)), ("item", tables.items(ws))))  # fmt: skip
        events = {(row["user"], row["position"]): row for row in tables.interactions(ws).to_pylist()}
        comments = tables.comments(ws).to_pylist()
        assert comments == sorted(comments, key=lambda row: (row["user"], row["position"]))
        for row in comments:
            event, number = events[row["user"], row["position"]], int(row["text"].split()[-1])
            assert (users[row["user"]], items[event["item"]]) == (f"A{number % 10}", f"B{number * 7 % 20}")
            assert row["day"] == event["day"] == (1_300_000_000 + number // 20 * DAY) // DAY

    def test_those_of_the_day_and_later_do_not_count(self, source):
        early = Workspace("amazon-beauty", "published", "2011-03-18")
        prepare(early, source=source, seed=1)
        assert 0 < tables.comments(early).num_rows < 150
        assert max(tables.comments(early)["day"].to_pylist()) == max(tables.interactions(early)["day"].to_pylist())

    def test_they_change_no_other_table(self, source, tmp_path):
        spoken, silent = self.WS, Workspace("amazon-beauty", "published", "2030-01-01")
        prepare(spoken, source=source, seed=1)
        with gzip.open(source / REVIEWS, "rt") as lines:
            bare = [json.dumps(json.loads(line) | {"reviewText": ""}) for line in lines]
        prepare(silent, source=official(tmp_path / "bare", bare, [meta(f"B{n}") for n in range(20)]), seed=1)
        assert tables.comments(silent).num_rows == 0
        for name in ("interactions", "items", "users", "rows"):
            one, other = (ws.path("data", f"{name}.parquet").read_bytes() for ws in (spoken, silent))
            assert one == other


BAD = {
    "not_an_object": ["{", "[1, 2]", "__import__('os').system('true')", b"\xff\xfe\x00", '{"a":'],
    "missing_field": ['{"asin": "B1", "unixReviewTime": 5}', '{"reviewerID": "A", "asin": "B"}'],
    "bad_id": [review("", "B1", 5), review("A\0", "B1", 5)],
    "bad_time": [review("A", "B", "yesterday"), review("A", "B", True), review("A", "B", 1e300)],
    "no_date": [review("A", "B", 0), review("A", "B", 3_600), review("A", "B", -1), review("A", "B", -62_135_596_800)],
    "negative_time": [review("A", "B", -86_400)],
    "future_time": [review("A", "B", 1_300_000_000_000), review("A", "B", 40_000_000_000)],
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_line_that_cannot_be_used_is_counted_with_its_number(tmp_path, kind):
    found = read(official(tmp_path, [*good(), *BAD[kind]], [meta(f"B{n}") for n in range(20)]))
    assert found.rejects.counts() == {kind: len(BAD[kind])}
    assert [row[1] for row in sorted(found.rejects.rows)] == list(range(201, 201 + len(BAD[kind])))
    assert found.rejects.lines == 200 + len(BAD[kind])
    assert found.interactions.num_rows == 200


def test_a_duplicate_counts_once(tmp_path):
    lines = good()
    found = read(official(tmp_path, [*lines, lines[7]], [meta(f"B{n}") for n in range(20)]))
    assert (found.rejects.counts(), found.interactions.num_rows) == ({"duplicate": 1}, 200)


def test_an_item_without_metadata_is_kept_and_counted(tmp_path):
    found = read(official(tmp_path, good(), [meta("B1"), meta("B2", title=None, categories=None)]))
    assert found.rejects.counts() == {"no_metadata": 19}
    assert found.interactions.num_rows == 200


def test_monstrous_texts_are_cleaned_and_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    titles = [
        "x" * 10_000,
        "🧴 crème 😀",
        "שמפו لل",
        "Salt &amp; Sea &lt;b&gt;",
        "a\0b\x07c",
        "<|im_start|>system",
        "\ud800",
    ]
    lines = [meta(f"B{n}", title=title, brand=title) for n, title in enumerate(titles)]
    prepare(Workspace("amazon-beauty", "published"), source=official(tmp_path, good(), lines), seed=1)
    items = {row["raw_id"]: row["title"] for row in tables.items(Workspace("amazon-beauty", "published")).to_pylist()}
    assert len(items["B0"]) == 160
    assert items["B1"] == "🧴 crème 😀"
    assert items["B2"] == "שמפו لل"
    assert items["B3"] == "Salt & Sea"
    assert items["B4"] == "a b c"
    assert "<|" not in items["B5"]
    assert items["B6"] == "?"
    assert items["B7"] == ""  # no metadata


class TestThreshold:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))

    WS = Workspace("amazon-beauty", "published")

    def test_few_rejects_pass_and_are_written_down(self, tmp_path):
        result = prepare(self.WS, source=official(tmp_path, [*good(), "{"]), seed=1)
        assert result.details["rejects"] == {"not_an_object": 1, "no_metadata": 20}
        lines = [json.loads(line) for line in self.WS.path("data", "rejects.jsonl").read_text().splitlines()]
        assert {"file": REVIEWS, "line": 201, "kind": "not_an_object", "text": "{ "} in lines
        assert result.details["table2"]["equal"] is False

    def test_many_are_an_error_that_names_kinds_and_place(self, tmp_path):
        source = official(tmp_path, [*good(), *["{"] * 20])
        with pytest.raises(UsageError, match=r"20 of 220 lines \(9\.1%\).*20 not_an_object.*allows 1\.0%") as error:
            prepare(self.WS, source=source, seed=1)
        assert str(self.WS.path("rejects.jsonl")) in str(error.value)
        assert len(self.WS.path("rejects.jsonl").read_text().splitlines()) == 40
        assert not self.WS.path("data").exists()
        assert prepare(self.WS, source=source, seed=1, max_rejects=0.1).details["interactions"] == 200

    def test_a_torn_file_is_an_error_unless_all_is_allowed(self, tmp_path):
        source = official(tmp_path, good(3000))
        whole = (source / REVIEWS).read_bytes()
        (source / REVIEWS).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UsageError, match="ends early"):
            prepare(self.WS, source=source, seed=1)
        assert 0 < prepare(self.WS, source=source, seed=1, max_rejects=1).details["interactions"] < 3000

    def test_what_is_no_gzip_file_is_an_error(self, tmp_path):
        source = official(tmp_path, good())
        (source / META).write_text("plain")
        with pytest.raises(UsageError, match="no gzip file"):
            prepare(self.WS, source=source, seed=1)


def test_a_folder_with_neither_layout_names_both(tmp_path):
    with pytest.raises(UsageError, match=r"reviews_Beauty_5\.json\.gz and meta_Beauty\.json\.gz nor amazon/Beauty"):
        BEAUTY.files(tmp_path)


_times = st.one_of(st.integers(), st.floats(allow_nan=False, allow_subnormal=False), st.none(), st.text(max_size=3))
_objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["asin", "reviewerID", "unixReviewTime"]), inner, max_size=3)
    ),
)
_lines = st.one_of(
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")),
    st.builds(review, st.text(max_size=3), st.text(max_size=3), _times),
    _objects.map(json.dumps),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_lines, max_size=20))
def test_every_line_is_an_interaction_or_a_reject(tmp_path, lines):
    path = official(tmp_path, lines)
    found = read(path)
    with gzip.open(path / REVIEWS) as written:
        filled = sum(bool(line.strip()) for line in written)
    dropped = sum(kind != "no_metadata" for _, _, kind, _ in found.rejects.rows)
    assert found.interactions.num_rows + dropped == found.rejects.lines == filled
