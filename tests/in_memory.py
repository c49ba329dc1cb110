"""An invented workspace in memory: training rows, item vectors and a CoT set, for tests of ict and ranking."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from core import schemas, steps, storage
from core.contracts import CATEGORIES, DENSE, FIRST_ID, HISTORY, SPLITS
from core.data.histories import Attributes
from core.settings import Workspace
from ict.examples import ExampleSet
from ict.neighbours import NeighbourConfig, Neighbours, search_exact
from ict.replica import Stored
from ranking.bags import ItemFields
from ranking.batch import BatchBuilder
from ranking.graph import Facts
from ranking.ranker import Shape
from ranking.registry import BACKBONES
from ranking.rows import Context, Histories, Knowledge, Rows
from ranking.text_match import TextMatch
from retrieval_stage.item_side import ItemFacts
from retrieval_stage.sequences import Sequences

USERS = 14  # rows of the user table


def training_rows(users: int = 12, items: int = 30, length: int = 8, days: int = 10, seed: int = 0) -> pa.Table:
    """Rows as Feast would join them: `length` positives a user and a negative each; several of a user share a day."""
    generator = np.random.default_rng(seed)
    columns: dict[str, list[object]] = {name: [] for name in schemas.TRAINING_ROWS.names}
    for user in range(FIRST_ID, FIRST_ID + users):
        taken = generator.choice(items, length, replace=False) + FIRST_ID
        day = np.sort(generator.integers(0, days, length))
        others = np.setdiff1d(np.arange(FIRST_ID, FIRST_ID + items), taken)
        for position in range(length):
            history = np.zeros(HISTORY, dtype=np.int64)
            history[max(0, HISTORY - position) :] = taken[max(0, position - HISTORY) : position]
            split = {length - 1: "test", length - 2: "valid"}.get(position, "train")
            for label, item in ((1, taken[position]), (0, generator.choice(others))):
                row = (len(columns["row"]), split, user, item, label, position, int(day[position]) * 86400)
                dense = {"activity": np.log1p(position), "popularity": generator.random()}
                values = (*row, int(day[position]), 0, history, *(dense.get(name, 0.0) for name in DENSE))
                for name, value in zip(schemas.TRAINING_ROWS.names, values, strict=True):
                    columns[name].append(value)
    return pa.table(columns).cast(schemas.TRAINING_ROWS)


def item_facts(items: int, seed: int = 0) -> ItemFacts:
    """Text vectors as of `item_vectors`, and brands and categories, of `items` items."""
    generator = np.random.default_rng(seed)
    brand_V = generator.integers(0, 5, items + FIRST_ID)
    categories_VC = generator.integers(0, 6, (items + FIRST_ID, CATEGORIES))
    brand_V[:FIRST_ID] = 0
    categories_VC[:FIRST_ID] = 0
    return ItemFacts(item_vectors(items=items, seed=seed), Attributes(brand_V, categories_VC))


def sequences(taken: Mapping[int, Sequence[tuple[int, int, str]]]) -> Sequences:
    """Of each user the (item, day, split) of every interaction, in their order; rows are numbered as they come."""
    flat = [(user, *one, position) for user, own in sorted(taken.items()) for position, one in enumerate(own)]
    user, item, day, split, position = zip(*flat, strict=True)
    history = np.zeros((len(flat), HISTORY), dtype=np.int64)
    for row, nth in enumerate(position):
        before = item[max(row - nth, row - HISTORY) : row]
        history[row, HISTORY - len(before) :] = before
    return Sequences(
        row_N=torch.arange(len(flat)),
        user_N=torch.tensor(user),
        item_N=torch.tensor(item),
        position_N=torch.tensor(position),
        day_N=torch.tensor(day),
        split_N=torch.tensor([SPLITS.index(one) for one in split]),
        history_NL=torch.from_numpy(history),
    )


def item_vectors(items: int = 30, width: int = 16, seed: int = 0) -> torch.Tensor:
    """Random unit vectors, (items + 2, width); rows 0 and 1 are zero."""
    vectors = F.normalize(torch.randn(items + FIRST_ID, width, generator=torch.Generator().manual_seed(seed)), dim=-1)
    vectors[:FIRST_ID] = 0
    return vectors


def example_set(rows: pa.Table, count: int = 60, items: int = 30, width: int = 16, seed: int = 0) -> ExampleSet:
    """A CoT set over a random sample of the training rows, with random unit vectors."""
    generator = torch.Generator().manual_seed(seed)
    candidates = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train"))
    sample = candidates[torch.randperm(len(candidates), generator=generator)[:count]].sort().values
    cot = F.normalize(torch.randn(count, width, generator=generator), dim=-1)
    return ExampleSet.of(rows, sample, cot, item_vectors(items, width, seed))


def stored(examples: ExampleSet, texts: list[str] | None = None) -> Stored:
    """The set as serving reads it out of its collection."""
    columns = {name: getattr(examples, name).numpy() for name in ("user_M", "item_M", "position_M", "day_M", "label_M")}
    told = texts or [f"text {number}" for number in range(1, examples.count + 1)]
    return Stored(**columns, key_MX=examples.candidates().key_MX.numpy(), texts=["", *told])


def write_cot_set(ws: Workspace, examples: ExampleSet, seed: int = 0, encoder: str = "") -> list[str]:
    """The workspace's cot/texts and cot/vectors folders, as finished steps of a seed; returns the texts."""
    named = {"encoder": encoder} if encoder else {}
    texts = [f"text {number}" for number in range(1, examples.count + 1)]

    def write_texts(folder: Path) -> dict[str, object]:
        same = {name: ["invented"] * len(texts) for name in ("prompt_hash", "finish", "model", "engine")}
        lists = {"tokens": [2] * len(texts), "flags": pa.array([[]] * len(texts), pa.list_(pa.string()))}
        columns = {"row": examples.row_M[1:].numpy(), "text": texts, **lists, **same}
        storage.write_table(folder / "texts.parquet", pa.table(columns), schemas.COT_TEXTS)
        return {}

    def write_vectors(folder: Path) -> dict[str, object]:
        vectors = {"items": examples.item_vectors_VE, "cot": examples.cot_ME[1:].contiguous()}
        save_file(vectors, folder / "vectors.safetensors")
        return {"encoder": "invented"}

    steps.run(steps.Step(folder=ws.path("cot", "texts"), config={"seed": seed, "recipe": "strict"}), write_texts)
    steps.run(steps.Step(folder=ws.path("cot", "vectors"), config={"seed": seed, **named}), write_vectors)
    return texts


def items_table(items: int = 30, seed: int = 0) -> pa.Table:
    """Items with one of five brands, the fifth missing, and none to three of six categories."""
    generator = np.random.default_rng(seed)
    columns = {
        "item": np.arange(FIRST_ID, FIRST_ID + items),
        "raw_id": [f"i{item}" for item in range(items)],
        "title": [f"Title {item}" for item in range(items)],
        "brand": ["brand"] * items,
        "categories": [["category"]] * items,
        "brand_id": [(0, 2, 3, 4, 5)[item % 5] for item in range(items)],
        "category_ids": [
            (generator.choice(6, generator.integers(0, 4), replace=False) + 2).tolist() for _ in range(items)
        ],
        "text": [f"text {item}" for item in range(items)],
        "offered": [True] * items,
    }
    return pa.table(columns).cast(schemas.ITEMS)


def batches(
    *, model: str = "deepfm", framework: str = "none", recipe: str = "strict", seed: int = 1, **choice: Any
) -> tuple[BatchBuilder, Shape]:
    """The invented world as the training loop takes it, and the sizes of its model.

    Half of the rows have a teacher's score, half of the users and items a text; `choice` is of the neighbours.
    """
    table = training_rows()
    rows, fields = Rows.of(table), ItemFields.of(items_table())
    histories = Histories.of(rows.requests)
    read: dict[str, Any] = {"attends": BACKBONES[model].attends or recipe == "best"}
    if "llm-cf" in framework:
        examples = example_set(table)
        config = NeighbourConfig(stage="ranking", recipe=recipe, seed=seed, **choice)
        found = Neighbours(*search_exact(examples, rows.requests, config))
        read["context"] = Context.of(histories, examples, found)
    if recipe == "best":
        read["text_match"] = TextMatch.of(item_vectors(), rows.requests.item_B, rows.requests.history_BL)
    if "kd" in framework:
        scores = torch.rand(len(rows.label_N), generator=torch.Generator().manual_seed(seed))
        read["teacher_N"] = torch.where(rows.row_N // 2 % 2 == 0, scores, torch.nan)
    if framework == "kar":
        read["knowledge"] = knowledge()
    shape = Shape(tables=fields.sizes(USERS), text_width=16)
    return BatchBuilder.of(rows, histories, fields, USERS, **read), shape


def facts(batches: BatchBuilder) -> Facts:
    """What a release would freeze of the invented world."""
    return Facts(
        items=batches.items,
        item_vectors_VE=item_vectors(),
        examples=batches.context.examples if batches.context else None,
        knowledge=batches.knowledge,
    )


def knowledge(users: int = USERS, items: int = 32, width: int = 16) -> Knowledge:
    """Texts of every second user, from three interactions on, and of every second item."""
    user, item = item_vectors(users - FIRST_ID, width, 1), item_vectors(items - FIRST_ID, width, 2)
    user[::2], item[1::2] = 0, 0
    return Knowledge(user, item, torch.where(torch.arange(users) % 2 == 1, 3, -1))
