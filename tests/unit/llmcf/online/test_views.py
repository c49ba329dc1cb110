"""What requests compute with is what is registered."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.errors import LlmcfError
from core.settings import PROJECT
from llmcf.online.views import on_demand


def store(source: str) -> Any:
    """A store with one on-demand view, whose transformation is the source's `cross`, as Feast rebuilds it."""
    from feast.transformation.udf_rehydrate import resolve_udf

    udf = resolve_udf(udf_string=source, body=None, preferred_name="cross")
    view = SimpleNamespace(name="user_item", feature_transformation=SimpleNamespace(udf=udf))
    service = SimpleNamespace(feature_view_projections=[SimpleNamespace(name="user_item")])
    return SimpleNamespace(get_feature_service=lambda name: service, list_on_demand_feature_views=lambda: [view])


def test_the_arithmetic_is_that_of_the_registered_source() -> None:
    text = (PROJECT / "feature_repo" / "cross.py").read_text(encoding="utf-8")
    changed = text.replace('"recency": _log_days(day_B, last_B)', '"recency": day_B + 7')
    assert changed != text
    found = on_demand(store(changed), "ranking")
    columns = {name: [[1.0]] for name in found.lists} | {name: [1.0] for name in found.scalars}
    made = found.features({name: np.array(values) for name, values in columns.items()})
    assert made["recency"].tolist() == [8.0]


def test_a_source_without_it_is_refused() -> None:
    with pytest.raises(LlmcfError, match=r"user_item has no features, LISTS.*features apply"):
        on_demand(store("SCALARS = ()\ndef cross(inputs): ..."), "ranking")
