"""The eligibility rule: planted leaks must be refused, and the vectors must be what METHOD says."""

import shutil
from pathlib import Path

import pytest
import torch

from core import schemas, steps, storage
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.settings import Workspace
from ict.examples import (
    NEVER,
    Candidates,
    ExampleSet,
    Requests,
    eligible,
    history_vectors,
    keys,
    rule,
)
from tests import in_memory


def candidates(*, user: list[int], position: list[int], day: list[int]) -> Candidates:
    """Candidates 1..n; number 0 is "no example"."""
    count = len(user) + 1
    return Candidates(
        row_M=torch.arange(-1, count - 1),
        user_M=torch.tensor([0, *user]),
        position_M=torch.tensor([0, *position]),
        day_M=torch.tensor([NEVER, *day]),
        label_M=torch.zeros(count, dtype=torch.int64),
        key_MX=torch.zeros(count, 4),
    )


def one_request(user: int, position: int, day: int) -> Requests:
    values = [torch.tensor([value]) for value in (user, 9, position, day)]
    return Requests(values[0], values[1], values[2], values[3], torch.zeros(1, 20, dtype=torch.int64))


PLANTED = candidates(
    # the row itself, its pair, the same day of another user, the day before, the day after, an own earlier row
    user=[5, 5, 6, 6, 6, 5],
    position=[3, 3, 0, 1, 7, 2],
    day=[10, 10, 10, 9, 11, 8],
)


@pytest.mark.parametrize("recipe", ["strict", "best"])
def test_only_strictly_earlier_days_are_eligible(recipe: str) -> None:
    allowed = eligible(recipe, PLANTED, one_request(user=5, position=3, day=10))
    assert allowed.tolist() == [[False, False, False, False, True, False, True]]


def test_the_paper_rule_lets_a_row_find_itself_and_other_users_future() -> None:
    allowed = eligible("paper", PLANTED, one_request(user=5, position=3, day=10))
    assert allowed.tolist() == [[False, True, True, True, True, True, True]]


def test_the_paper_rule_skips_the_users_later_positions() -> None:
    allowed = eligible("paper", PLANTED, one_request(user=5, position=2, day=8))
    assert allowed.tolist() == [[False, False, False, True, True, True, True]]


def test_an_unknown_recipe_is_a_usage_error() -> None:
    request = one_request(user=5, position=3, day=10)
    with pytest.raises(UsageError, match="unknown recipe 'lenient'"):
        eligible("lenient", PLANTED, request)
    with pytest.raises(UsageError, match="strict, paper, best"):
        rule("lenient", request, 1)


def test_history_vector_is_the_normalised_mean_and_ignores_padding() -> None:
    vectors = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    history = torch.tensor([[0, 0, 2, 3], [0, 0, 0, 2], [0, 0, 0, 0], [0, 1, 1, 3]])
    half = 0.5**0.5
    expected = torch.tensor([[half, half], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(history_vectors(vectors, history), expected)


def test_an_exported_graph_gathers_history_vectors_and_runs_no_bag() -> None:
    class Histories(torch.nn.Module):
        def forward(self, history_BL: torch.Tensor) -> torch.Tensor:
            return history_vectors(vectors, history_BL)

    vectors, history = in_memory.item_vectors(), torch.randint(0, 30, (4, 20))
    program = torch.export.export(Histories(), (history,))
    assert not [node for node in program.graph.nodes if "embedding_bag" in str(node.target)]
    torch.testing.assert_close(program.module()(history), history_vectors(vectors, history))


def test_inner_products_of_keys_are_the_factorised_scores() -> None:
    rows = in_memory.training_rows()
    examples = in_memory.example_set(rows)
    requests = Requests.of(rows)
    vectors = examples.item_vectors_VE
    histories = history_vectors(vectors, requests.history_BL) @ history_vectors(vectors, examples.history_ML).T
    targets = vectors[requests.item_B] @ vectors[examples.item_M].T
    stored = examples.candidates().key_MX
    torch.testing.assert_close(
        keys(vectors, requests.history_BL, requests.item_B) @ stored.T, 0.5 * histories + 0.5 * targets
    )


def test_examples_carry_their_rows_facts_and_start_with_nothing() -> None:
    rows = in_memory.training_rows()
    sample = torch.tensor([4, 9, 30])
    examples = ExampleSet.of(rows, sample, torch.eye(3, 16), torch.zeros(32, 16))
    assert examples.count == 3
    assert examples.row_M.tolist() == [-1, 4, 9, 30]
    for name, column in (("user", examples.user_M), ("day", examples.day_M), ("label", examples.label_M)):
        assert column[1:].tolist() == rows[name].take([4, 9, 30]).to_pylist()
    assert examples.cot_ME[0].sum() == 0
    assert examples.item_M[0] == 0


def test_vectors_of_other_texts_are_refused(tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tables.training_rows(tiny)
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    storage.write_table(tiny.path("training", "rows.parquet"), rows, schemas.TRAINING_ROWS)
    storage.write_table(tiny.path("data", "items.parquet"), in_memory.items_table(), schemas.ITEMS)
    in_memory.write_cot_set(tiny, in_memory.example_set(rows, count=5))
    assert ExampleSet.load(tiny).count == 5
    vectors = tiny.path("cot", "vectors").rename(tmp_path / "vectors")
    in_memory.write_cot_set(tiny, in_memory.example_set(rows, count=4), seed=1)
    shutil.rmtree(tiny.path("cot", "vectors"))
    vectors.rename(tiny.path("cot", "vectors"))
    with pytest.raises(LlmcfError, match="changed since it was embedded; run `llmcf cot embed"):
        ExampleSet.load(tiny)
    storage.write_table(tiny.path("data", "items.parquet"), in_memory.items_table(31), schemas.ITEMS)
    with pytest.raises(LlmcfError, match="are of 30 items, and there are 31; run `llmcf cot embed"):
        ExampleSet.load(tiny)


def test_texts_of_other_rows_are_refused(tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are numbered anew by every preparation; the index and a refreshed release read them, too."""
    rows = tables.training_rows(tiny)
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    storage.write_table(tiny.path("training", "rows.parquet"), rows, schemas.TRAINING_ROWS)
    storage.write_table(tiny.path("data", "items.parquet"), in_memory.items_table(), schemas.ITEMS)
    storage.write_json(tiny.path("training", steps.STAMP), {"content": "today's"})
    in_memory.write_cot_set(tiny, in_memory.example_set(rows, count=5))
    for part, verb in (("texts", "generate"), ("vectors", "embed")):
        stamp = tiny.cot(part) / steps.STAMP
        told = storage.read_json(stamp)
        storage.write_json(stamp, told | {"inputs": {steps.name_of(tiny.path("training")): "as they were"}})
        with pytest.raises(Missing, match=rf"{part} was made before .*training changed; run `llmcf cot {verb}"):
            ExampleSet.load(tiny)
        storage.write_json(stamp, told)
    assert ExampleSet.load(tiny).count == 5
