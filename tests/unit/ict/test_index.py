"""The example index: keys that stay, the day it must not know, the encoder it is of."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core import storage
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ict import index
from ict.examples import ExampleSet, Requests, eligible, rule
from ict.milvus.records import Records
from tests import in_memory

ROWS = in_memory.training_rows()
EXAMPLES = in_memory.example_set(ROWS)
TEXTS = [f"text {number}" for number in range(EXAMPLES.count)]


def test_a_key_says_which_row_an_example_is_and_keeps_the_rows_order() -> None:
    keys = index.keys_of(EXAMPLES)
    assert (np.diff(keys) > 0).all()
    for key, user, position, label in zip(
        keys.tolist(), *(one[1:].tolist() for one in (EXAMPLES.user_M, EXAMPLES.position_M, EXAMPLES.label_M)),
        strict=True,
    ):  # fmt: skip
        assert (key >> 21, (key >> 1) % 2**20, 1 - key % 2) == (user, position, label)


def test_keys_and_digests_of_old_examples_stay_when_new_ones_come_between() -> None:
    """Their numbers change; what Milvus holds of them does not."""
    cot_NE, texts = torch.randn(len(ROWS), 16), [f"text of row {row}" for row in range(len(ROWS))]

    def of(taken: list[int]) -> dict[int, int]:
        examples = ExampleSet.of(ROWS, torch.tensor(taken), cot_NE[taken], in_memory.item_vectors())
        records = index.records(examples, [texts[row] for row in taken])
        return dict(zip(records.ids.tolist(), records.row_digests.tolist(), strict=True))

    some, more = of([4, 41]), of([4, 9, 30, 41])
    assert some.items() < more.items()
    texts[41] = "another"
    assert len(of([4, 41]).items() & some.items()) == 1


def test_two_examples_of_one_row_are_refused() -> None:
    twice = ExampleSet.of(ROWS, torch.tensor([4, 4]), torch.eye(2, 16), in_memory.item_vectors())
    with pytest.raises(LlmcfError, match="names a row twice"):
        index.keys_of(twice)


@pytest.mark.parametrize("recipe", ["strict", "best", "paper"])
@pytest.mark.parametrize("label", [0, 1, None])
def test_the_filter_of_a_request_is_the_rule_of_training(recipe: str, label: int | None) -> None:
    requests, candidates = Requests.of(ROWS), EXAMPLES.candidates()
    columns = {
        name: getattr(candidates, f"{name}_M")[1:].numpy() for name in ("user", "position", "day", "label")
    }  # fmt: skip
    columns["id"] = index.keys_of(EXAMPLES)
    allowed_BM = eligible(recipe, candidates, requests)[:, 1:].numpy()
    if label is not None:
        allowed_BM = allowed_BM & (columns["label"] == label)
    for row in range(0, len(requests), 7):
        asked = rule(recipe, requests.slice(row, row + 1), label)
        np.testing.assert_array_equal(asked.mask(columns), allowed_BM[row])


def test_what_is_measured_is_what_requests_ask() -> None:
    records = index.records(EXAMPLES, TEXTS)
    assert isinstance(records, Records)
    assert set(records.checks) == {"no filter", "time and label", "the paper's rule"}
    assert {rule.label for rule in records.checks["time and label"]} == {0, 1}
    assert records.kept == {"cot"}
    assert set(index.records(EXAMPLES, TEXTS, whole_ME=torch.ones(EXAMPLES.count, 8)).searched) == {"key", "whole"}


def test_the_first_unknown_day(tiny: Workspace) -> None:
    dated = Workspace(tiny.dataset, tiny.order, "1970-02-01")
    assert index.first_unknown_day(dated) == 31
    assert index.first_unknown_day(tiny) == tables.interactions(tiny)["day"].to_numpy().max() + 1


def test_an_index_of_another_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("movielens-100k", "shuffled-ties")
    stamp = {"config": {"encoder": "a name", "hash": "f00d" * 8}, "outputs": {}, "content": "", "summary": {}}
    storage.write_json(ws.cot("vectors") / "step.json", stamp)
    assert index.encoder(ws) == "f00d" * 8
    collection = SimpleNamespace(name="c", account={"encoder": "beef" * 8})
    with pytest.raises(UsageError, match=r"encoder beefbeefbeef, and .* with f00df00df00d; run `llmcf cot index"):
        index.check_encoder(ws, collection)  # pyright: ignore[reportArgumentType]
    for theirs in ("f00d" * 8, ""):
        index.check_encoder(ws, SimpleNamespace(name="c", account={"encoder": theirs}))  # pyright: ignore[reportArgumentType]
