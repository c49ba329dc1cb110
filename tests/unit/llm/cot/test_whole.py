"""Whole texts x^t: the question with history and target, never the label."""

import pyarrow as pa

from core.data import tables
from core.settings import Workspace
from llm.contexts import contexts
from llm.cot.whole import whole_text
from llm.prompts import domain


def test_a_whole_text_asks_about_the_target_and_does_not_tell_the_outcome(tiny: Workspace) -> None:
    rows = tables.training_rows(tiny).slice(20, 2)  # a positive and its negative
    liked, not_taken = contexts(tiny, rows)
    words = domain(tiny.dataset)
    one, other = whole_text(liked, words), whole_text(not_taken, words)
    assert liked.target.title in one
    assert not_taken.target.title in other
    assert one.replace(liked.target.title, "") != one
    assert one.split("New")[0] == other.split("New")[0], "the same person, history and question"
    assert "Yes or No" in one


def test_the_label_plays_no_part(tiny: Workspace) -> None:
    rows = tables.training_rows(tiny).slice(20, 1)
    at, field = rows.schema.get_field_index("label"), rows.schema.field("label")
    flipped = rows.set_column(at, field, pa.array([1 - rows["label"][0].as_py()], field.type))
    words = domain(tiny.dataset)
    (one,), (other,) = contexts(tiny, rows), contexts(tiny, flipped)
    assert one.label != other.label
    assert whole_text(one, words) == whole_text(other, words)
