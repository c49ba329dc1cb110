"""The four-part score and the content of a text, with an encoder that can be computed by hand."""

import numpy as np
import pyarrow as pa
import pytest

from core import schemas
from llm.contexts import Context, Item
from llm.cot import judge

SOAP = Item(title="Soap", brand="", kind="Bath")
CONTEXT = Context(row=4, profile="", history=(SOAP,), target=SOAP, label=1)
WORDS = ("soap", "taste", "variety", "other", "bath")


def encode(texts: list[str]) -> np.ndarray:
    """Counts of WORDS, normalised."""
    counts = np.array([[text.lower().count(word) for word in WORDS] for text in texts], dtype=np.float32)
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def test_parts_are_the_cosines_they_say() -> None:
    found = judge.scores(["Soap. Soap taste.", "other."], [CONTEXT, CONTEXT], encode)
    assert set(found) == set(judge.PARTS)
    assert found["coherence"].tolist() == pytest.approx([1 / np.sqrt(2), 1])  # one sentence follows nothing
    assert found["relevance"][0] > 0.4
    assert found["relevance"][1] == 0
    assert found["completeness"][0] > found["completeness"][1] == 0
    assert found["consistency"].tolist() == pytest.approx([2 / np.sqrt(5), 0])


def test_consistency_chooses_nothing_where_the_label_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.texts.encoder.Encoder", lambda name: encode)
    facts = {"row": 4, "flags": [], "tokens": 1, "finish": "stop", "prompt_hash": "", "model": "", "engine": ""}
    both = [facts | {"text": text} for text in ("Soap bath.", "Soap other.")]
    table = pa.Table.from_pylist(both, schema=schemas.COT_TEXTS)
    told = judge.best(table, {4: CONTEXT}, blind=True)
    assert told["text"].to_pylist() == ["Soap bath."]
    values = iter([{"coherence": [0, 0], "completeness": [0, 0], "relevance": [0.1, 0], "consistency": [0, 1]}] * 2)
    monkeypatch.setattr(judge, "scores", lambda *_: {k: np.array(v) for k, v in next(values).items()})
    assert judge.best(table, {4: CONTEXT}, blind=True)["text"].to_pylist() == ["Soap bath."]
    assert judge.best(table, {4: CONTEXT}, blind=False)["text"].to_pylist() == ["Soap other."]


def test_content_ranks_a_texts_own_item_and_history() -> None:
    items = np.eye(50, dtype=np.float32)
    items[:2] = 0
    own = np.arange(10, 20)
    perfect = judge.content(items[own], own, items, items[own], seed=1)
    assert perfect.item_N.tolist() == [1] * 10
    assert perfect.history_N.tolist() == [1] * 10
    empty = judge.content(np.ones((10, 50), np.float32), own, items, np.zeros((10, 50), np.float32), seed=1)
    assert np.isnan(empty.history_N).all()
    wrong = judge.content(items[own + 1], own, items, items[own], seed=1)
    assert wrong.item_N.max() < 0.6


def test_a_probe_finds_labels_that_were_told_and_none_that_were_not() -> None:
    rng = np.random.default_rng(1)
    label = np.arange(400) % 2
    blind = rng.normal(size=(400, 8)).astype(np.float32)
    told = blind + np.outer(label, np.eye(8)[3]).astype(np.float32) * 4
    assert judge.label_probe(told, label, seed=1) > 0.95
    assert judge.label_probe(blind, label, seed=1) == pytest.approx(0.5, abs=0.08)
