"""What the DAGs' tasks read and write: Airflow's assets, and the datasets that OpenLineage is told of for each.

A dataset is named by its folder without order and day, `cot/texts`, as `llmcf lineage show` names it; its namespace
ends with the data set, as Feast's own events have it, and its version is the day. So all days of a table are one
dataset, and Feast's views, which its events name as well, are the same ones here.
"""

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from airflow.sdk import Asset

NAMESPACE = "llmcf"  # where OPENLINEAGE_NAMESPACE names none
ONLINE = ("user_profile", "user_history", "item_attributes", "item_popularity", "item_neighbours")  # Feast's views
ON_DEMAND = ("user_item",)
_DATASETS: dict[str, tuple[bool, tuple[str, ...]]] = {}  # by asset: whether they are a day's, and their names


class Told(NamedTuple):
    """A dataset as OpenLineage is told of it; `version` is "" where it is not of a day."""

    namespace: str
    name: str
    version: str


def _asset(name: str, *datasets: str, daily: bool = True) -> Asset:
    """An asset and its datasets, in which parameters stand in braces."""
    _DATASETS[f"llmcf_{name}"] = daily, datasets
    return Asset(f"llmcf_{name}", uri=f"llmcf://{name.replace('_', '-')}")


RAW = _asset("raw", "raw", daily=False)
EVENTS = _asset("events", "events", daily=False)
PUSHED = _asset("pushed", "pushed", daily=False)  # the ledger
TABLES = _asset("tables", "data")
FEATURE_TABLES = _asset("feature_tables", "features")
FEATURE_VIEWS = _asset("feature_views", *ONLINE, *ON_DEMAND)
TRAINING = _asset("training", "training")
FEATURES = _asset("features", *(f"online_store_{view}" for view in ONLINE))  # all that a day's features are
INSTRUCTIONS = _asset("instructions", "instructions", daily=False)  # general ones, mixed into tuning
BASE_LLM = _asset("base_llm", "models/llm/{recgen_model}", daily=False)
TUNED_LLM = _asset("tuned_llm", "recgen/recgen-s{seed}")
SCORES = _asset("scores", "scores/recgen-s{seed}")
WRITER = _asset("writer", "{writer}", daily=False)  # the model that writes texts
TEXTS = _asset("texts", "cot/texts")
ENCODER = _asset("encoder", "models/encoder/{encoder}", daily=False)
VECTORS = _asset("vectors", "cot/vectors")
COT_INDEX = _asset("cot_index", "cot/index")
PLAIN_RANKER = _asset("plain_ranker", "ranking/{ranker}-none-{recipe}-s{seed}")
RANKER = _asset("ranker", "ranking/{ranker}-{framework}-{recipe}-s{seed}")
PLAIN_RETRIEVER = _asset("plain_retriever", "retrieval/{retriever}-none-{recipe}-s{seed}")
RETRIEVER = _asset("retriever", "retrieval/{retriever}-{tower_framework}-{recipe}-s{seed}")
FROZEN = _asset("frozen_release", "release", daily=False)
RELEASE = _asset("release", "release:live", daily=False)
METRICS = _asset("metrics", "metrics", daily=False)
MONITORING = _asset("monitoring", "monitoring", daily=False)


def datasets(assets: Iterable[Asset], given: Mapping[str, str]) -> list[Told]:
    """The datasets of assets under a run's parameters, by lower-case name."""
    values = {**given, "writer": _writer(given), "tower_framework": given["retriever_framework"] or given["framework"]}
    namespace = f"{os.environ.get('OPENLINEAGE_NAMESPACE') or NAMESPACE}/{given['dataset']}"
    told = []
    for daily, names in (_DATASETS[asset.name] for asset in assets):
        version = (given["as_of"] or "latest") if daily else ""
        told += [Told(namespace, name.format_map(values), version) for name in names]
    return told


def _writer(given: Mapping[str, str]) -> str:
    own = {"pinned": "llm-pin", "recgen": f"recgen/recgen-s{given['seed']}"}
    return own.get(given["llm"]) or f"models/llm/{given['llm']}"
