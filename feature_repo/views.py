"""Four feature views over dated Parquet files, and the push source that brings new interactions online.

Event times are set by `llmcf features build`: a state is stored at the first moment that may see it. Feast does not
enforce a TTL online; offline it only bounds how old a state may be, and here an old state stays true.
"""

from datetime import timedelta

from entities import item, user
from feast import FeatureView, Field, FileSource, PushSource
from feast.types import Array, Float32, Int32, Int64, String

FOREVER = timedelta(days=36_500)
LATELY = timedelta(days=3_650)


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
        Field(name="activity", dtype=Float32, description="log1p of the number of earlier interactions."),
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
    ttl=LATELY,
    schema=[
        Field(name="popularity", dtype=Float32, description="log1p of all interactions on strictly earlier days."),
        Field(name="popularity_30d", dtype=Float32, description="log1p of those on the 30 days before this one."),
    ],
    source=parquet("item_popularity", "A state at the start of each day on which a count changes."),
    description="How often the item is taken.",
)
