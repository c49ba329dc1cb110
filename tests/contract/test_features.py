"""Feast's views, the Parquet files behind them and the contracts state the same facts."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from core import contracts, schemas
from core.data import asof, features
from core.settings import PROJECT

FLAT = ("entities", "views", "services")


@pytest.fixture(scope="module")
def repo() -> Iterator[dict[str, ModuleType]]:
    """feature_repo's modules, imported flat as Feast does."""
    from importlib import import_module

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT / "feature_repo"))
        yield {name: import_module(name) for name in FLAT}
        for name in FLAT:
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def views(repo):
    return {name: getattr(repo["views"], name) for name in features.SCHEMAS}


def arrow(dtype: Any) -> pa.DataType:
    from feast.types import Array, Float32, Int32, Int64, String

    known = {Int32: pa.int32(), Int64: pa.int64(), Float32: pa.float32(), String: pa.string()}
    return pa.list_(arrow(dtype.base_type)) if isinstance(dtype, Array) else known[dtype]


@pytest.mark.parametrize("name", features.SCHEMAS)
def test_a_view_declares_the_columns_of_its_file(views, name):
    view, schema = views[name], features.SCHEMAS[name]
    declared = {field.name: arrow(field.dtype) for field in view.features}
    stored = {field.name: field.type for field in schema}
    keys = {view.entities[0]: pa.int64(), "event_timestamp": features.EVENT_TIME}
    assert declared | keys == stored
    assert view.batch_source.path == f"data/{name}.parquet"


@pytest.mark.parametrize("name", features.SCHEMAS)
def test_every_feature_is_described(views, name):
    assert all(field.description for field in views[name].features)
    assert views[name].description


def test_the_ranking_service_joins_the_training_features(repo):
    service = repo["services"].ranking
    joined = {feature.name for projection in service.feature_view_projections for feature in projection.features}
    assert joined == set(asof.FEATURES)
    assert set(contracts.DENSE) < joined


def test_training_rows_are_rows_and_features():
    assert schemas.TRAINING_ROWS.names == [*schemas.ROWS.names, *asof.FEATURES]


def test_request_services_hold_what_online_reads_lead_with_and_keep(repo):
    from llmcf.online.reader import IMMUTABLE, ITEM, LEADS, USER

    services = {service.name: service for service in (repo["services"].user_request, repo["services"].item_request)}
    assert set(services) == {USER, ITEM} == set(LEADS)
    held = {name: {p.name for p in service.feature_view_projections} for name, service in services.items()}
    assert all(LEADS[name] in held[name] for name in held)
    assert set.union(*held.values()) >= IMMUTABLE
