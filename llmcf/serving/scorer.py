"""Triton's model `score` of a release: its files, and its answer to the canary's question worked out here.

It takes raw ids and what Feast gives, and finds the in-context examples itself (triton_models/score_model.py), so that
services of others need no library of ours. Suffixes: N items, E text width.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core import storage
from core.contracts import CATEGORIES, DENSE, EXAMPLES, FIRST_ID, HISTORY, SCORE, UNKNOWN
from core.settings import PROJECT
from ict.nearest import NearestExamples
from ict.shown import Showing, Who, groups
from llmcf.serving import triton_config
from llmcf.serving.manifest import ITEM_VECTORS, MODELS, Release, Stage

if TYPE_CHECKING:
    from ict.replica import Stored

Arrays = Mapping[str, np.ndarray]

SOURCES = ("triton_models/score_model.py", "ict/nearest.py", "ict/shown.py")  # that travel with a release
_CODE = dict(zip(("model.py", "nearest.py", "shown.py"), SOURCES, strict=True))
_FACTS, _IDS, _EXAMPLES = "score.json", "ids.safetensors", "examples.safetensors"
_VECTORS = "item_vectors.safetensors"
_LATE = 1_000_000  # a day after all examples


def vectors_file(number: int) -> str:
    """Where a release keeps its items' text vectors, which this model and the service read; relative to its folder."""
    return f"{MODELS}/{SCORE}/{number}/{_VECTORS}"


def write(
    folder: Path, release: Release, users: Mapping[str, int], items: Mapping[str, int], examples: "Stored | None"
) -> dict[str, str]:
    """Write the model into a release's folder, where the ranker lies; returns digests by file.

    Args:
        users, items: rows of the vocabulary by raw id.
        examples: of the collection that the release names, where the ranker reads them; `vectors_file` holds the
            items' vectors then.
    """
    from safetensors.numpy import save_file

    place, ranker = folder / MODELS / SCORE / str(release.number), release.stages["ranker"]
    place.mkdir(parents=True, exist_ok=True)
    for name, source in _CODE.items():
        shutil.copyfile(PROJECT / source, place / name)
    save_file(_ids("user", users) | _ids("item", items), place / _IDS)
    if examples is not None and "examples" in ranker.reads:
        columns = ("user_M", "item_M", "position_M", "day_M", "label_M", "key_MX")
        save_file({name: getattr(examples, name) for name in columns}, place / _EXAMPLES)
    facts = {
        "graph": f"../../ranker/{ranker.version}/model.onnx",
        "recipe": ranker.recipe,
        "seed": ranker.seed,
        "count": EXAMPLES,
        "constrained": True,
        "users_end": release.users_end,
        "items_end": release.items_end,
    }
    storage.write_json(place / _FACTS, facts)
    (place.parent / "config.pbtxt").write_text(triton_config.render_score(release.number), encoding="utf-8")
    digests = {path.name: storage.sha256(path) for path in sorted(place.iterdir())}
    (place / "__pycache__").touch()  # as assemble.put_code says
    return digests


def question(place: Path, ranker: Stage) -> dict[str, np.ndarray]:
    """One that every release can answer: its first user and item, an item that it does not have, all examples."""
    ids, generator, count = _load(place / _IDS), np.random.default_rng(0), 3
    user, item = (ids[f"{kind}_text"][: ids[f"{kind}_ends"][:1].sum()].tobytes() for kind in ("user", "item"))
    width = next((tensor.shape[0] for tensor in ranker.inputs if tensor.name == "text"), 0)
    text_NE = generator.standard_normal((count, width or _vectors(place).shape[1]), dtype=np.float32)
    return {
        "user_id": np.array([user], dtype=np.object_),
        "item_id": np.array([item, b"", item], dtype=np.object_),
        "history": np.pad([FIRST_ID], (HISTORY - 1, 0)),
        "activity": np.log1p([1], dtype=np.float32),
        "day": np.array([_LATE]),
        "dense": generator.random((count, len(DENSE)), dtype=np.float32),
        "brand": np.full(count, FIRST_ID),
        "categories": np.full((count, CATEGORIES), FIRST_ID),
        "text": text_NE / np.linalg.norm(text_NE, axis=1, keepdims=True).clip(1e-12),
    }


def expected(
    place: Path, ranker: Stage, asked: Arrays, graph: Callable[[Arrays], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What the model must say to `question`, by the graph of the release in this process."""
    ids, facts = _load(place / _IDS), storage.read_json(place / _FACTS)
    user, first = (int(ids[f"{kind}_rows"][0]) if len(ids[f"{kind}_rows"]) else UNKNOWN for kind in ("user", "item"))
    item_N = np.array([first, UNKNOWN, first])
    new_N = item_N == UNKNOWN
    who = Who(
        user=user if user < facts["users_end"] else UNKNOWN,
        position=1,
        day=_LATE,
        history_L=np.where(asked["history"] < facts["items_end"], asked["history"], UNKNOWN),
    )
    told = {
        name: asked[name] * new_N.reshape(-1, *(1 for _ in asked[name].shape[1:]))
        for name in ("brand", "categories", "text")
    }
    whose = {"user": np.full(len(item_N), who.user), "history": np.tile(who.history_L, (len(item_N), 1))}
    rows = {**told, **whose, "item": item_N, "dense": asked["dense"]}
    if "examples" in ranker.reads:
        rows |= _shown(place, facts, who, item_N, asked["text"])
    return {"score": graph(rows)["score"], "user": np.array([user]), "item": item_N}


def _shown(place: Path, facts: dict, who: Who, item_N: np.ndarray, text_NE: np.ndarray) -> dict[str, np.ndarray]:
    stored, known_N = _load(place / _EXAMPLES), item_N != UNKNOWN
    grouped = groups(stored["label_M"], constrained=facts["constrained"])
    showing = Showing(
        search=NearestExamples(stored["key_MX"], stored["item_M"], _vectors(place), grouped),
        **{name: stored[name] for name in ("user_M", "position_M", "day_M")},
        **{name: facts[name] for name in ("recipe", "seed")},
        per_group=facts["count"] // len(grouped),
    )
    found = showing.of_items(who, item_N[known_N]).interleaved(showing.of_texts(who, text_NE[~known_N]), known_N)
    return {"examples": found.examples_CK, "similarity": found.similarity_CK}


def _ids(kind: str, rows: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Raw ids in the order of their UTF-8, end to end, with where each ends and its row."""
    named = sorted((raw_id.encode(), row) for raw_id, row in rows.items())
    return {
        f"{kind}_text": np.frombuffer(b"".join(raw_id for raw_id, _ in named), dtype=np.uint8),
        f"{kind}_ends": np.cumsum([len(raw_id) for raw_id, _ in named], dtype=np.int64),
        f"{kind}_rows": np.array([row for _, row in named], dtype=np.int64),
    }


def _vectors(place: Path) -> np.ndarray:
    path = place / _VECTORS
    return _load(path)[ITEM_VECTORS] if path.exists() else np.empty((0, 1), dtype=np.float32)


def _load(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)
