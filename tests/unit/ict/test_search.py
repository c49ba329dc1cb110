"""What `cot search` shows of an example."""

import pyarrow as pa

from ict.search import _evidence

USERS = pa.table({"user": [2, 3], "raw_id": ["anna", "bert"]})
ITEMS = pa.table({"item": [2, 3], "raw_id": ["i0", "i1"], "title": ["Heat", "Alien"]})
ROW = {"id": 1, "label": 1, "day": 0, "text": "because", "user": 3, "item": 2}


def test_an_example_is_shown_by_its_names() -> None:
    shown = _evidence(1, ROW, 0.5, USERS, ITEMS)
    assert (shown["user"], shown["title"], shown["date"]) == ("bert", "Heat", "1970-01-01")


def test_what_this_workspace_does_not_have_gets_no_other_title() -> None:
    shown = _evidence(1, {**ROW, "user": 9, "item": 9}, 0.5, USERS, ITEMS)
    assert shown["user"] == shown["title"] == "(not in this workspace)"
