"""What a request reads: the views and fields behind each feature service, as the registry has them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from core.contracts import DAY
from core.errors import LlmcfError

if TYPE_CHECKING:
    from feast import FeatureStore

ONLINE_TTL = "online_ttl_days"  # a tag: offline a state may be true for years, while online its age tells of a halt
Row = tuple[float, tuple[Any, ...]]  # event time in Unix seconds, a value (or its bytes) for each field


@dataclass(frozen=True, slots=True)
class View:
    """One feature view of one entity. `ttl` is in seconds: the view's, or what its tag says of online values."""

    name: str
    key: str
    fields: tuple[str, ...]
    ttl: float


def views(store: "FeatureStore", service: str) -> tuple[View, ...]:
    """The stored views of a service; on-demand views are computed, not stored, and left out."""
    stored = {view.name: view for view in store.list_feature_views()}
    found = []
    for projection in store.get_feature_service(service).feature_view_projections:
        if projection.name in stored:
            view = stored[projection.name]
            (key,) = view.join_keys  # one entity a view: rows are looked up by one id
            ttl = min(view.ttl.total_seconds() if view.ttl else inf, DAY * float(view.tags.get(ONLINE_TTL, inf)))
            found.append(View(view.name, key, tuple(field.name for field in projection.features), ttl))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class OnDemand:
    """The arithmetic of a registered on-demand view, as feature_repo/cross.py has it: what the training join ran.

    Args:
        features: from columns, (B,) or (B, X), to columns, (B,); the view's transformation of frames wraps it.
        scalars, lists: the columns it reads.
    """

    features: Callable[[dict[str, NDArray]], dict[str, NDArray]]
    scalars: tuple[str, ...]
    lists: tuple[str, ...]


def on_demand(store: "FeatureStore", service: str) -> OnDemand:
    """The arithmetic of the service's on-demand view, as registered: a frame for each request would cost ten times it.

    Raises:
        LlmcfError: if the registered source does not have it.
    """
    names = {projection.name for projection in store.get_feature_service(service).feature_view_projections}
    (view,) = (view for view in store.list_on_demand_feature_views() if view.name in names)
    transformation = view.feature_transformation
    assert transformation is not None
    source = transformation.udf.__globals__  # the registry keeps the whole file's text, and runs it
    if missing := [name for name in ("features", "SCALARS", "LISTS") if name not in source]:
        raise LlmcfError(
            f"the registered source of {view.name} has no {', '.join(missing)}, which requests compute with; keep them "
            "in feature_repo/cross.py and run `llmcf features apply`"
        )
    return OnDemand(source["features"], tuple(source["SCALARS"]), tuple(source["LISTS"]))


def key_bytes(key: str) -> Callable[[int], bytes]:
    """The store's key of an id, by Feast's own serializer."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    def serialized(one: int) -> bytes:
        return serialize_entity_key(EntityKey(join_keys=[key], entity_values=[Value(int64_val=one)]), 3)

    return serialized


def decoder() -> Callable[[bytes | None], Any]:
    """From a stored value's bytes to what Feast's `to_dict` would give; None where nothing is stored."""
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type

    parse = Value.FromString
    plain = {"int32_val", "int64_val", "float_val", "double_val", "string_val", "bool_val"}
    lists = {"int32_list_val", "int64_list_val", "float_list_val", "double_list_val", "string_list_val"}

    def decode(stored: bytes | None) -> Any:
        if not stored:
            return None
        value = parse(stored)
        kind = value.WhichOneof("val")
        if kind in plain:
            return getattr(value, kind)
        if kind in lists:
            return list(getattr(value, kind).val)
        return feast_value_type_to_python_type(value)

    return decode
