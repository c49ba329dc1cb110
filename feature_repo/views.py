"""Five feature views over dated Parquet files, the push source that brings new interactions online, and what is made
on demand from a user's state, an item's state and the day of the request.

Event times are set by `llmcf features build`: a state is stored at the first moment that may see it. Feast does not
enforce a TTL online: llmcf/online/table.py does. Offline a state stays true until the next, however old it is; what
ages online says so by a tag.
"""
# pyright: reportArgumentType=false
# (Feast declares that a selection of a view's fields is None)

import inspect
from datetime import timedelta

import cross
from entities import item, user
from feast import FeatureView, Field, FileSource, OnDemandFeatureView, PushSource, RequestSource
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Array, Float32, Int32, Int64, String

FOREVER = timedelta(days=36_500)
LATELY = timedelta(days=3_650)
MONTHLY = {"online_ttl_days": "30"}  # a count of the last week is worthless when the pipeline has stood still


def parquet(name: str, description: str) -> FileSource:
    path = f"data/{name}.parquet"
    return FileSource(name=f"{name}_file", path=path, timestamp_field="event_timestamp", description=description)


user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(name="age", dtype=Int32, description="Years; null where the data set has none."),
        Field(name="gender", dtype=String, description="As the data set spells it, M or F."),
        Field(name="occupation", dtype=String, description="As the data set spells it."),
        Field(name="profile", dtype=String, description="One cleaned fragment of text for prompts."),
    ],
    source=parquet("user_profile", "Static facts, dated to the first day of the data."),
    description="Who the user is.",
)

interactions = PushSource(
    name="interactions",
    batch_source=parquet("user_history", "A state before each interaction and one after the last."),
    description="States that `llmcf features push` computes from new interactions.",
)

user_history = FeatureView(
    name="user_history",
    entities=[user],
    ttl=LATELY,
    schema=[
        Field(name="history", dtype=Array(Int64), description="Last 20 item rows, newest last, padded left with 0."),
        Field(name="history_days", dtype=Array(Int32), description="The days on which they were taken; 0 at padding."),
        Field(name="history_brands", dtype=Array(Int32), description="Their brands; 0 without one."),
        Field(name="history_categories", dtype=Array(Int32), description="Their categories, six for each item."),
        Field(name="activity", dtype=Float32, description="log1p of the number of earlier interactions."),
        Field(name="taste_popularity", dtype=Float32, description="Mean log1p popularity of the history when taken."),
        Field(name="brand_affinity", dtype=Float32, description="Share of the history in its most frequent brand."),
        Field(name="category_affinity", dtype=Float32, description="Share of it in its most frequent category."),
    ],
    source=interactions,
    description="What the user has taken so far.",
)

item_attributes = FeatureView(
    name="item_attributes",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(name="title", dtype=String, description="Cleaned title."),
        Field(name="brand_id", dtype=Int64, description="Row of the brand vocabulary; 0 without a brand."),
        Field(name="category_ids", dtype=Array(Int64), description="Six category rows, padded right with 0."),
    ],
    source=parquet("item_attributes", "Static facts, dated to the first day of the data."),
    description="What the item is.",
)

item_popularity = FeatureView(
    name="item_popularity",
    entities=[item],
    ttl=FOREVER,
    tags=MONTHLY,
    schema=[
        Field(name="popularity", dtype=Float32, description="log1p of all interactions on strictly earlier days."),
        Field(name="popularity_7d", dtype=Float32, description="log1p of those on the 7 days before this one."),
        Field(name="popularity_30d", dtype=Float32, description="The same for 30 days."),
        Field(name="popularity_90d", dtype=Float32, description="The same for 90 days."),
        Field(
            name="trend", dtype=Float32, description="log of the last 30 days over the monthly mean of the 60 before."
        ),
        Field(name="first_day", dtype=Int32, description="Day of the first interaction, once it lies in the past."),
    ],
    source=parquet("item_popularity", "A state at the start of each day on which a count changes."),
    description="How often the item is taken.",
)

item_neighbours = FeatureView(
    name="item_neighbours",
    entities=[item],
    ttl=FOREVER,
    tags=MONTHLY,
    schema=[
        Field(name="neighbours", dtype=Array(Int64), description="The 20 items most often taken together with it."),
        Field(name="neighbour_counts", dtype=Array(Int32), description="How often; lists are padded right with 0."),
    ],
    source=parquet("item_neighbours", "A list at the start of each 30 days in which a count changed."),
    description="What is taken together with the item.",
)

request = RequestSource(
    name="request",
    schema=[Field(name="day", dtype=Int64, description="Days from 1970-01-01 to the request, UTC.")],
)

user_item = OnDemandFeatureView(
    name="user_item",
    sources=[
        user_history[["history", "history_days", "history_brands", "history_categories"]],
        item_attributes[["brand_id", "category_ids"]],
        item_popularity[["first_day"]],
        item_neighbours,
        request,
    ],
    schema=[Field(name=name, dtype=Float32) for name in cross.FEATURES],
    feature_transformation=PandasTransformation(udf=cross.cross, udf_string=inspect.getsource(cross)),
    mode="pandas",  # whoever opens the registry runs the source text in it, so that all of cross.py travels along
    description="User and item together, on the day of the request; -1 where a day is not known.",
)
