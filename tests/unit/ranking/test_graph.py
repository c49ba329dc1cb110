"""The graph of a ranker: it scores as the model at any batch, and knows newer items by their facts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.contracts import RANKER_OUTPUTS, UNKNOWN
from core.settings import Workspace
from ict import onnx
from ranking import loop
from ranking.bags import ItemFields
from ranking.batch import BatchBuilder
from ranking.export import request_of, served
from ranking.graph import Facts, RankerGraph
from ranking.ranker import build
from ranking.recipes import resolve
from ranking.registry import MODELS
from tests import in_memory

PLACE = Workspace("amazon-beauty", "published")
TEXT_WIDTH = 16
Arrays = dict[str, np.ndarray]


def made(model: str, framework: str, recipe: str) -> tuple[RankerGraph, BatchBuilder, torch.Tensor, Arrays]:
    """A graph with fresh weights, the batches of its model, some rows and what the model says of them."""
    config = resolve(PLACE, model=model, framework=framework, recipe=recipe, seed=1)
    batches, shape = in_memory.batches(model=model, framework=framework, recipe=recipe)
    torch.manual_seed(1)
    ranker = build(config, shape).eval()
    graph = served(ranker, config)
    at_N = torch.arange(0, len(batches.rows.label_N), 11)
    request = request_of(graph, batches, at_N, TEXT_WIDTH)
    return graph, batches, torch.from_numpy(loop.predict(ranker, batches, at_N)), request


def score(graph: RankerGraph, request: Arrays, tables: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return graph({name: torch.from_numpy(values) for name, values in request.items()}, tables)


@pytest.mark.parametrize(
    ("model", "framework", "recipe"),
    [(model, framework, "best") for model in MODELS for framework in ("none", "llm-cf")]
    + [("deepfm", "llm-cf", "paper"), ("xdeepfm", "kar", "strict"), ("din", "llm-cf+kd", "strict")],
)
def test_it_scores_as_the_model(model: str, framework: str, recipe: str) -> None:
    graph, batches, expected, request = made(model, framework, recipe)
    torch.testing.assert_close(
        score(graph, request, graph.tables(in_memory.facts(batches))), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("framework", "recipe", "reads"),
    [
        ("none", "strict", {"user", "item", "history", "brand", "categories"}),
        ("kar", "strict", {"user", "item", "history", "brand", "categories"}),
        ("llm-cf", "strict", {"user", "item", "history", "brand", "categories", "examples", "text"}),
        ("none", "best", {"user", "item", "history", "brand", "categories", "dense", "text"}),
    ],
)
def test_it_asks_for_what_it_reads_only(framework: str, recipe: str, reads: set[str]) -> None:
    graph, _, _, request = made("deepfm", framework, recipe)
    assert set(graph.reads) == set(request) == reads


def extended(facts: Facts, brand: int, categories: list[int], text: torch.Tensor) -> Facts:
    """With one item more, that came after the weights were trained."""
    items = ItemFields(
        F.pad(facts.items.brand_V, (0, 1), value=brand),
        torch.cat([facts.items.categories_VC, torch.tensor([categories])]),
    )
    assert facts.item_vectors_VE is not None
    vectors_VE = torch.cat([facts.item_vectors_VE, text[None]])
    examples = facts.examples and replace(facts.examples, item_vectors_VE=vectors_VE)
    return replace(facts, items=items, item_vectors_VE=vectors_VE, examples=examples)


@pytest.mark.parametrize(("model", "framework"), [("deepfm", "llm-cf"), ("din", "none"), ("dcnv2", "llm-cf")])
def test_a_new_item_scores_alike_whether_a_table_or_the_request_knows_it(model: str, framework: str) -> None:
    """What a refresh gives a row, a service can say of an item that came a moment ago: no graph is made for it."""
    graph, batches, _, request = made(model, framework, "strict")
    facts, count = in_memory.facts(batches), len(request["user"])
    brand, categories, text = 3, [2, 5, 0, 0, 0, 0], F.normalize(torch.arange(1.0, TEXT_WIDTH + 1), dim=0)
    tables = graph.tables(extended(facts, brand, categories, text))
    by_table = request | {"item": np.full(count, len(facts.items.brand_V))}
    by_request = request | {"item": np.full(count, UNKNOWN), "brand": np.full(count, brand)}
    by_request["categories"] = np.tile(np.array(categories), (count, 1))
    if "text" in request:
        by_request["text"] = np.tile(text.numpy(), (count, 1))
    known = score(graph, by_table, tables)
    torch.testing.assert_close(score(graph, by_request, graph.tables(facts)), known)
    nothing_known = score(graph, request | {"item": np.full(count, UNKNOWN)}, tables)
    assert not torch.allclose(nothing_known, known), "brand, categories and text count"


@pytest.mark.parametrize(("model", "framework"), [("deepfm", "llm-cf"), ("din", "none")])
def test_rows_score_alike_whatever_stands_beside_them(model: str, framework: str) -> None:
    """Candidates of several users, in turns or one user after the other, some of them newer than the release."""
    graph, batches, _, request = made(model, framework, "best")
    tables, count = graph.tables(in_memory.facts(batches)), len(request["user"])
    text = F.normalize(torch.randn(count, TEXT_WIDTH, generator=torch.Generator().manual_seed(2)), dim=1).numpy()
    new = np.arange(count) % 3 == 0
    request |= {"item": np.where(new, UNKNOWN, request["item"]), "text": text}
    request["history"] = request["history"][np.arange(count) // 4]  # runs of one history
    alone = torch.cat([score(graph, {n: v[i : i + 1] for n, v in request.items()}, tables) for i in range(count)])
    for order in (np.arange(count), np.random.default_rng(0).permutation(count)):
        together = score(graph, {name: values[order] for name, values in request.items()}, tables)
        torch.testing.assert_close(together, alone[torch.from_numpy(order)], atol=1e-5, rtol=0)


def test_what_a_request_says_of_items_that_the_release_knows_is_not_read() -> None:
    graph, batches, expected, request = made("deepfm", "llm-cf", "best")
    said = request | {"brand": np.full(len(request["user"]), 4), "text": np.ones_like(request["text"])}
    torch.testing.assert_close(score(graph, said, graph.tables(in_memory.facts(batches))), expected, atol=1e-5, rtol=0)


def test_ids_beyond_the_weights_are_unknown_users_and_items_without_new_brands() -> None:
    graph, batches, _, request = made("deepfm", "none", "strict")
    facts, count = in_memory.facts(batches), len(request["user"])
    newer = graph.tables(extended(facts, 900, [901, 0, 0, 0, 0, 0], torch.zeros(TEXT_WIDTH)))
    none = graph.tables(extended(facts, 0, [0] * 6, torch.zeros(TEXT_WIDTH)))
    item = {"item": np.full(count, len(facts.items.brand_V))}
    torch.testing.assert_close(score(graph, request | item, newer), score(graph, request | item, none))
    stranger = score(graph, request | {"user": np.full(count, 10**6)}, none)
    torch.testing.assert_close(stranger, score(graph, request | {"user": np.full(count, UNKNOWN)}, none))


@pytest.mark.parametrize(("framework", "recipe"), [("llm-cf", "best"), ("kar", "strict")])
def test_the_written_graph_takes_other_tables_of_other_lengths(tmp_path: Path, framework: str, recipe: str) -> None:
    graph, batches, expected, request = made("deepfm", framework, recipe)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    facts = in_memory.facts(batches)
    onnx.write(graph, request, graph.tables(facts), [tensor.name for tensor in RANKER_OUTPUTS], first)
    onnx.check(first / onnx.MODEL, request, expected.numpy())
    tables = graph.tables(extended(facts, 3, [2, 0, 0, 0, 0, 0], torch.ones(TEXT_WIDTH)))
    if "item_VD" in tables:  # KAR's texts of items are as long as the vocabulary
        tables["item_VD"] = F.pad(tables["item_VD"], (0, 0, 0, 1))
    onnx.replace_tables(first, tables, second)
    newest = request | {"item": np.full(len(request["user"]), len(facts.items.brand_V))}
    onnx.check(second / onnx.MODEL, newest, score(graph, newest, tables).numpy())
    onnx.check(first / onnx.MODEL, request, expected.numpy())  # and the first is as it was
