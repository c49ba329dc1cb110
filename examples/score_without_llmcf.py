"""P(click) of items for a user, with nothing but `feast`, `tritonclient` and `numpy`: what `POST /scores` answers.

    python examples/score_without_llmcf.py --feast FOLDER --triton 127.0.0.1:8000 --release 7 --user c0 p1 p2

FOLDER holds a `feature_store.yaml` that Feast can open without llmcf: a workspace's `feast/online/`. Triton serves a
release's model repository. What the tensors mean is in docs/serve.md.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tritonclient.http as triton
from feast import FeatureStore

HISTORY = 20
UNKNOWN = 1  # the row of what the release does not have
DENSE = (
    *("activity", "taste_popularity", "brand_affinity", "category_affinity"),
    *("popularity", "popularity_7d", "popularity_30d", "popularity_90d", "trend"),
    *("recency", "item_age", "brand_count", "category_count", "days_since_category", "cooccurrence"),
)
_TYPES = {np.dtype(np.object_): "BYTES", np.dtype(np.int64): "INT64", np.dtype(np.float32): "FP32"}
Arrays = Mapping[str, np.ndarray]


def main() -> None:
    asked = argparse.ArgumentParser(description="P(click) of items for a user")
    asked.add_argument("--feast", required=True, help="folder with a feature_store.yaml")
    asked.add_argument("--triton", required=True, help="host and port of Triton's HTTP")
    asked.add_argument("--release", default="", help="number of the release; the newest one that Triton has")
    asked.add_argument("--user", required=True, help="raw id")
    asked.add_argument("--day", type=int, default=int(time.time()) // 86_400, help="days from 1970-01-01; today")
    asked.add_argument("items", nargs="+", help="raw ids")
    told = asked.parse_args()
    client = triton.InferenceServerClient(told.triton)
    scores = score(FeatureStore(told.feast), client, told.release, told.user, told.items, told.day)
    print(json.dumps(scores))


def score(
    store: FeatureStore,
    client: triton.InferenceServerClient,
    release: str,
    user: str,
    items: Sequence[str],
    day: int,
) -> dict[str, float | None]:
    """P(click) by item; None for an item that the release does not have, and for all if it does not know the user."""
    names = {"user_id": _strings([user]), "item_id": _strings(items)}
    rows = ask(client, release, names, ["user", "item"])
    known = features(store, int(rows["user"][0]), rows["item"].tolist(), day)
    if known["history"][0] is None:
        return dict.fromkeys(items)
    given = {
        "history": np.array(known["history"][0], dtype=np.int64),
        "activity": np.array(known["activity"][:1], dtype=np.float32),
        "day": np.array([day], dtype=np.int64),
        "dense": np.array([[one or 0.0 for one in known[name]] for name in DENSE], dtype=np.float32).T,
    }
    found = ask(client, release, {**names, **given}, ["score"])["score"]
    there = rows["item"] != UNKNOWN
    return {item: float(one) if has else None for item, one, has in zip(items, found, there, strict=True)}


def features(store: FeatureStore, user: int, items: Sequence[int], day: int) -> dict[str, list[Any]]:
    """The features of Feast's service `ranking`, by name, one value an item; None is "nothing is known"."""
    entities = [{"user": user, "item": item, "day": day} for item in items]
    return store.get_online_features(features=store.get_feature_service("ranking"), entity_rows=entities).to_dict()


def ask(
    client: triton.InferenceServerClient, release: str, arrays: Arrays, outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """Those outputs of Triton's model `score`."""
    inputs = []
    for name, values in arrays.items():
        tensor = triton.InferInput(name, list(values.shape), _TYPES[values.dtype])
        inputs.append(tensor.set_data_from_numpy(values))
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    answer = client.infer("score", inputs, model_version=release, outputs=wanted)
    return {name: np.asarray(answer.as_numpy(name)) for name in outputs}


def _strings(values: Sequence[str]) -> np.ndarray:
    return np.array([value.encode() for value in values], dtype=np.object_)


if __name__ == "__main__":
    main()
