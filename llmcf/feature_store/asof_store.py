"""Feast's DuckDB store with DuckDB's own as-of join; configured by `offline_store.type` in feature_store.yaml.

Feast's version pairs every row with all earlier states of its entity and then keeps the newest, lists and all; an as-of
join walks rows and states in one order, in a fraction of the time and memory (benchmarks/results/feast_join.md). What
it finds is the same: the newest state at or before the row's time, and nothing if that is older than the view's TTL.
"""

# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# (Ibis knows the types of columns when it runs, not before)
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import ibis
from feast.infra.offline_stores import ibis as feast_ibis
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob
from ibis.expr.types import Table

_CLASS = "llmcf.feature_store.asof_store.AsofDuckDBOfflineStore"
FeatureTable = tuple[Table, str, str | None, dict[str, str], list[str], timedelta | None]


class AsofDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """The same options as Feast's."""

    type: Literal[_CLASS] = _CLASS  # pyright: ignore


class AsofDuckDBOfflineStore(DuckDBOfflineStore):
    """Everything is Feast's, save the join."""

    @staticmethod
    def get_historical_features(*args: Any, **kwargs: Any) -> RetrievalJob:
        with _join(point_in_time_join):
            return DuckDBOfflineStore.get_historical_features(*args, **kwargs)


def point_in_time_join(
    entity_table: Table, feature_tables: Sequence[FeatureTable], event_timestamp_col: str = "event_timestamp", **_: Any
) -> Table:
    """`entity_table` with the features of the newest states at or before each row's time.

    States of entities that no row asks for are left out before anything is sorted. Rows come in chunks: each would sort
    all states there are, which grows with the square of the data.
    """
    joined = entity_table.drop("entity_row_id") if "entity_row_id" in entity_table.columns else entity_table
    for states, time, _created, keys, features, ttl in feature_tables:
        asked = entity_table.select(*keys.values()).distinct()
        states = states.semi_join(asked, [states[theirs] == asked[ours] for theirs, ours in keys.items()])
        states = states.select(*dict.fromkeys([*keys, *features]), _time=states[time])
        joined = joined.asof_join(
            states,
            on=joined[event_timestamp_col] >= states["_time"],
            predicates=[joined[ours] == states[theirs] for theirs, ours in keys.items()],
            rname="{name}_right",
        )
        if ttl:
            fresh = joined["_time"] + ibis.literal(ttl) >= joined[event_timestamp_col]
            joined = joined.mutate(**{name: fresh.ifelse(joined[name], ibis.null()) for name in features})
        joined = joined.drop("_time", *(name for name in joined.columns if name.endswith("_right")))
    return joined


@contextmanager
def _join(ours: Any) -> Iterator[None]:
    """Feast builds its query from a function of its module; there is no other place to choose the join."""
    theirs = feast_ibis.point_in_time_join
    feast_ibis.point_in_time_join = ours
    try:
        yield
    finally:
        feast_ibis.point_in_time_join = theirs
