"""The machine that every verb that writes shares, over a job of two questions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from core import schemas, storage
from core.errors import LlmcfError
from core.settings import Workspace
from llm.contexts import Context, Item
from llm.kar.recipes import KarConfig
from llm.texts import machine
from llm.texts.cache import Entry
from llm.texts.job import Question, TextJob
from tests import tiny_llama
from tests.parrot import Parrot

WS = Workspace("movielens-100k", "published")
CONTEXT = Context(row=0, profile="", history=(), target=Item(title="", brand="", kind=""), label=0)
GOOD = "a calm story with many other words about the sea."
BAD = "the the the the the the the the."


def question(number: int, *names: str) -> Question:
    return Question(row={"row": number}, context=CONTEXT, prompt="is rain", openings=("cares about",), names=names)


def job(folder: Path, asked: Sequence[Question]) -> TextJob:
    return TextJob(
        verb="cot generate",
        config=KarConfig(model="tiny"),
        wording="test-1",
        folder=folder / "texts",
        inputs=[],
        code=[],
        schema=schemas.COT_TEXTS,
        ask=lambda model: list(asked),
        summarise=lambda table: {"rows": table.num_rows},
        strip_decision=True,
    )


class Shelf:
    """Finished texts by name."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def get(self, prompt_hash: str) -> Entry | None:
        said = self.texts.get(prompt_hash)
        return Entry(prompt_hash=prompt_hash, parts=(said,), tokens=5, finish=("stop",)) if said else None


def assembled(folder: Path, job: TextJob, texts: dict[str, str]) -> tuple[dict, list[dict]]:
    built = machine.TextMachine(job, Shelf(texts), author="tiny@1", model=folder)
    summary = built.assemble(folder)
    return summary, storage.read_table(folder / "texts.parquet", schemas.COT_TEXTS, "").to_pylist()


def test_the_table_holds_usable_texts_and_the_summary_counts_the_rest(tmp_path: Path) -> None:
    asked = [question(1, "a"), question(2, "b"), question(3, "c", "d")]
    summary, rows = assembled(tmp_path, job(tmp_path, asked), {"a": GOOD, "c": BAD, "d": f"{GOOD} They liked it."})
    assert [(row["row"], row["prompt_hash"]) for row in rows] == [(1, "a"), (3, "d")]
    assert [row["text"] for row in rows] == [f"cares about {GOOD}"] * 2  # how it ended is dropped
    assert rows[1]["flags"] == ["decision"]
    assert (summary["dropped"], summary["texts"], summary["rows"]) == ({"unwritten": 1}, 2, 2)
    assert (summary["model"], summary["model_option"], summary["prompt"]) == ("tiny@1", "tiny", "test-1")


def test_a_job_may_choose_and_keep_decisions(tmp_path: Path) -> None:
    def last(table: pa.Table, asked: Sequence[Question]) -> pa.Table:
        return table.slice(len(asked))

    chosen = replace(job(tmp_path, [question(1, "a", "b")]), choose=last, strip_decision=False)
    _, rows = assembled(tmp_path, chosen, {"a": GOOD, "b": f"{GOOD} They liked it."})
    assert [row["text"] for row in rows] == [f"cares about {GOOD} They liked it."]


def test_not_one_usable_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LlmcfError, match="not one usable text was written"):
        assembled(tmp_path, job(tmp_path, [question(1, "a")]), {"a": BAD})


def test_nothing_is_asked_where_nothing_must_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of a million rows take minutes: a table that is up to date is found so without them."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    model = tiny_llama.write(tmp_path / "tiny")
    asked: list[Path] = []

    def ask(path: Path) -> list[Question]:
        asked.append(path)
        return [question(1, "0" * 32)]

    ours = replace(job(tmp_path, []), ask=ask, config=KarConfig(model=str(model)))
    Parrot().speaks(monkeypatch)
    assert not machine.generate(WS, ours).skipped
    assert asked == [model]  # once, for both halves
    assert machine.generate(WS, ours).skipped
    assert asked == [model]
