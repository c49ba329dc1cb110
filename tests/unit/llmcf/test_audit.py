"""Each kind of leak, planted and caught; clean tables pass. The rows are the tiny workspace's, as Feast joins them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from core import schemas, storage
from core.contracts import DENSE, ON_SALE
from core.data import asof, audit, tables
from core.errors import LlmcfError
from core.settings import Workspace
from ict.neighbours import NeighbourConfig, neighbours_step, prepare
from llmcf import audit as verb
from tests import in_memory


@pytest.fixture
def rows(tiny: Workspace) -> pa.Table:
    return tables.training_rows(tiny)


@pytest.fixture
def interactions(tiny: Workspace) -> pa.Table:
    return tables.interactions(tiny)


def planted(rows: pa.Table, name: str, row: int, value: object) -> pa.Table:
    """The rows with one value changed."""
    values = rows[name].to_pylist()
    values[row] = value
    return planted_column(rows, name, values)


def planted_column(rows: pa.Table, name: str, values: list) -> pa.Table:
    """The rows with another column."""
    return rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, rows.schema.field(name).type))


def at(rows: pa.Table, split: str, *, label: int = 1) -> int:
    """The place of a late row of a split, whose user has a history."""
    found = np.flatnonzero((rows["split"].to_numpy() == split) & (rows["label"].to_numpy() == label))
    return int(found[-1])


def test_clean_tables_pass(tiny: Workspace):
    result = verb.leaks(tiny)
    assert result.details["violations"] == 0
    assert {check["rows"] for check in result.details["checks"]} == {tables.training_rows(tiny).num_rows}
    assert len(result.details["checks"]) == 6 + len(DENSE)
    verb.require_none(result)


def test_a_later_item_in_a_history_is_caught(rows, interactions):
    row = 6
    leak = [*rows["history"][row].as_py()[1:], rows["item"][row].as_py()]
    assert audit.history_violations(planted(rows, "history", row, leak), interactions).tolist() == [row]
    assert asof.differences(planted(rows, "history", row, leak), rows)["history"].tolist() == [row]


def test_a_missing_history_is_caught(rows, interactions):
    assert len(audit.history_violations(planted(rows, "history", 3, None), interactions)) == len(rows)


def test_a_test_item_in_a_history_is_caught(rows, interactions):
    test = at(rows, "test")
    user, item = (rows[name][test].as_py() for name in ("user", "item"))
    row = int(np.flatnonzero(rows["user"].to_numpy() == user)[0])
    leaked = planted(rows, "history", row, [*rows["history"][row].as_py()[1:], item])
    assert audit.held_out_violations(rows, interactions).tolist() == []
    assert audit.held_out_violations(leaked, interactions).tolist() == [rows["row"][row].as_py()]


def test_a_comment_elsewhere_than_its_interaction_is_caught(interactions):
    said = interactions.select(["user", "position", "day"]).append_column("text", pa.array(["x"] * len(interactions)))
    last = len(said) - 1
    assert audit.comment_violations(said, interactions).tolist() == []
    for name, value in (("day", said["day"][3].as_py() - 1), ("position", 500), ("user", said["user"][last].as_py())):
        assert audit.comment_violations(planted(said, name, 3, value), interactions).tolist() == [3]
    beyond = planted(said, "position", last, said["position"][last].as_py() + 1)
    assert audit.comment_violations(beyond, interactions).tolist() == [last]


def same_day_row(rows: pa.Table, interactions: pa.Table) -> int:
    """A row whose item somebody takes on the very day of the row."""
    taken = set(zip(interactions["item"].to_pylist(), interactions["day"].to_pylist(), strict=True))
    pairs = zip(rows["item"].to_pylist(), rows["day"].to_pylist(), strict=True)
    return next(row for row, pair in enumerate(pairs) if pair in taken)


def test_a_same_day_count_is_caught(rows, interactions):
    """What Feast's inclusive join would give, were the states not dated to obey the rule."""
    row = same_day_row(rows, interactions)
    leaked = planted(rows, "popularity", row, np.log1p(np.expm1(rows["popularity"][row].as_py()) + 1))
    assert audit.popularity_violations(leaked, interactions).tolist() == [row]
    assert asof.differences(leaked, rows)["popularity"].tolist() == [row]


@pytest.mark.parametrize("name", DENSE)
def test_another_value_of_any_feature_is_caught(rows, name):
    for value in (rows[name][4].as_py() + 0.1, None):
        assert asof.differences(planted(rows, name, 4, value), rows)[name].tolist() == [4]


def test_a_taken_negative_is_caught(rows, interactions):
    assert audit.negative_violations(planted(rows, "item", 1, rows["item"][0].as_py()), interactions).tolist() == [1]


def test_a_negative_that_was_not_on_sale_is_caught(rows, interactions):
    row, last = at(rows, ON_SALE, label=0), at(rows, "test", label=0)
    items, days = (interactions[name].to_numpy() for name in ("item", "day"))
    first = {int(item): days[items == item].min() for item in np.unique(items)}
    newest = max(first, key=lambda item: first[item])
    early = planted(planted(rows, "item", row, newest), "day", row, int(first[newest]))
    assert audit.on_sale_violations(rows, interactions).tolist() == []
    assert audit.on_sale_violations(early, interactions).tolist() == [rows["row"][row].as_py()]
    assert audit.on_sale_violations(planted(rows, "item", last, newest), interactions).tolist() == []  # exempt


def test_a_training_row_after_a_held_out_one_is_caught(rows):
    row = at(rows, "test")
    assert audit.split_violations(planted(rows, "split", row, "train"), "shuffled-ties").tolist() == [
        rows["row"][row].as_py()
    ]
    assert len(audit.split_violations(rows, "global-time"))  # leave-one-out is no split by date


class TestExamples:
    """In-context examples: days, the row itself, its pair, its position; and who may be an example at all."""

    ROWS = in_memory.training_rows()

    def shown(self, row: int, example: int) -> list[int]:
        examples = np.zeros((len(self.ROWS), 4), dtype=np.int64)
        examples[row, 2] = 1
        return audit.example_violations(self.ROWS, examples, np.array([example])).tolist()

    def other(self, row: int, days: int) -> int:
        """A row of another user whose day is `days` later."""
        user, day = (self.ROWS[name].to_numpy() for name in ("user", "day"))
        return int(np.flatnonzero((user != user[row]) & (day == day[row] + days))[0])

    def test_an_earlier_day_passes(self):
        assert self.shown(60, self.other(60, -1)) == []

    @pytest.mark.parametrize("days", [0, 1])
    def test_the_same_day_and_a_later_one_are_caught(self, days):
        row = next(row for row in range(60, 100) if 2 <= self.ROWS["day"][row].as_py() <= 7)
        assert self.shown(row, self.other(row, days)) == [row]

    def test_the_row_itself_and_its_pair_are_caught(self):
        assert self.shown(60, 60) == [60]
        assert self.shown(60, 61) == [60]

    def test_an_example_out_of_the_test_split_is_caught(self):
        test = at(self.ROWS, "test")
        assert audit.example_set_violations(self.ROWS, np.array([0, test])).tolist() == [test]


def test_neighbours_that_a_training_would_read_are_checked(own: Workspace):
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    texts = own.path("cot", "texts", "step.json")
    storage.write_json(texts, storage.read_json(texts) | {"config": {"recipe": "strict"}})
    config = NeighbourConfig(stage="ranking", recipe="strict", seed=1)
    prepare(own, config)
    folder = neighbours_step(own, config).folder
    assert verb.leaks(own).details["violations"] == 0

    file = folder / "neighbours.safetensors"
    stored = load_file(file)
    shown, similarity = stored["examples"], stored["similarity"]
    first = int(np.flatnonzero(rows["day"].to_numpy() == rows["day"].to_numpy().min())[0])
    shown[first] = 1  # of a day that is not earlier than the first
    save_file({"examples": shown, "similarity": similarity}, file)
    result = verb.leaks(own).details
    assert result["violations"] == 1
    assert [check["first"] for check in result["checks"] if check["violations"]] == [[rows["row"][first].as_py()]]

    stamp = folder / "step.json"
    storage.write_json(stamp, storage.read_json(stamp) | {"key": "of other rows"})
    result = verb.leaks(own).details
    assert result["violations"] == 0
    assert "stale, so no training reads it: ranking-strict" in result["text"]


def test_a_text_that_states_the_outcome_is_caught_and_a_title_is_none(own: Workspace, monkeypatch):
    rows, items = tables.training_rows(own), tables.items(own)
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=len(items)))
    texts, claim = own.path("cot", "texts"), "a chain of thought does not state the outcome"
    table = pq.read_table(texts / "texts.parquet")
    first, second = table["row"][0].as_py(), table["row"][1].as_py()
    about = rows["item"][rows["row"].to_pylist().index(first)].as_py()
    film = planted(items, "title", items["item"].to_pylist().index(about), "The Answer, Yes! (1997)")
    monkeypatch.setattr(tables, "items", lambda ws: film)

    def caught(*written: str) -> list[int]:
        said = [*written, *table["text"].to_pylist()[len(written) :]]
        storage.write_table(texts / "texts.parquet", planted_column(table, "text", said), schemas.COT_TEXTS)
        size = (texts / "texts.parquet").stat().st_size
        stamp = storage.read_json(texts / "step.json") | {"outputs": {"texts.parquet": size}}
        storage.write_json(texts / "step.json", stamp)
        (check,) = (one for one in verb.leaks(own).details["checks"] if one["claim"] == claim)
        return check["first"]

    assert caught("The Answer, of drama, is about a riddle.", "The Answer, of drama, is about a riddle.") == [second]
    assert caught("The Answer, of drama, is about a riddle. The person will like it.", "Yes.") == [first, second]
    assert caught("The Answer, of drama, is about a riddle.", "It is quiet.") == []
    assert caught() == [], "and so they stay for others"


def test_an_in_sample_score_is_caught(rows):
    scores = pa.table({"row": [0, 3, 40], "model": ["fold0", "fold1", "fold0"]})
    clean = pa.table({"row": [10, 12, 41], "model": ["fold0", "fold0", "fold1"]})
    assert audit.score_violations(rows, scores, clean).tolist() == []
    assert audit.score_violations(rows, scores, pa.table({"row": [3], "model": ["fold1"]})).tolist() == [3]
    assert audit.score_violations(rows, scores, pa.table({"row": [1], "model": ["fold0"]})).tolist() == [0]  # the pair


def test_a_score_by_a_model_that_saw_its_day_is_caught(rows):
    day = rows["day"].to_numpy()
    early, late = int(day.argmin()), int(day.argmax())
    same_day = int(np.flatnonzero(day == day[late])[0])
    scores = pa.table({"row": [late, early], "model": ["a", "b"]})
    assert audit.later_score_violations(rows, scores, pa.table({"row": [early], "model": ["a"]})).tolist() == []
    leaked = pa.table({"row": [early, same_day], "model": ["a", "a"]})
    assert audit.later_score_violations(rows, scores, leaked).tolist() == [late]
    assert audit.later_score_violations(rows, scores, pa.table({"row": [late], "model": ["b"]})).tolist() == [early]


def test_the_verb_prints_what_it_checked_and_objects(tiny, monkeypatch):
    leaked = planted(tables.training_rows(tiny), "popularity", 8, 9.0)
    monkeypatch.setattr(tables, "training_rows", lambda ws: leaked)
    result = verb.leaks(tiny)
    assert result.details["violations"] == 2  # the count itself, and the comparison with the reference
    assert "LEAK" in result.details["text"]
    assert "first 8" in result.details["text"]
    with pytest.raises(LlmcfError, match="broken 2 times"):
        verb.require_none(result)


def test_schema_of_what_is_audited(rows):
    assert rows.schema.equals(schemas.TRAINING_ROWS)
