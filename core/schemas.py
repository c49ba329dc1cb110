"""Arrow schemas of the tables that pass between stages. Written and read through `core.storage`.

Ids are vocabulary rows (`contracts.PAD`, `UNKNOWN`, then real ids); days are counted since 1970-01-01 UTC.
"""

import pyarrow as pa

from core import contracts

INTERACTIONS = pa.schema(
    [
        ("user", pa.int64()),
        ("item", pa.int64()),
        ("position", pa.int32()),  # 0-based place in the user's sequence, under the workspace's order
        ("timestamp", pa.int64()),  # Unix seconds
        ("day", pa.int32()),
        ("rating", pa.float32()),  # null where the source has none; never a feature
    ]
)

# What users wrote about what they took, sorted by user and position; of most interactions there is none.
COMMENTS = pa.schema(
    [
        ("user", pa.int64()),
        ("position", pa.int32()),
        ("day", pa.int32()),  # of the interaction: who sees a comment is decided by it
        ("text", pa.string()),  # cleaned and cut, never empty
    ]
)

ITEMS = pa.schema(
    [
        ("item", pa.int64()),
        ("raw_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),  # MovieLens has no brand: the year of release takes its field
        ("categories", pa.list_(pa.string())),
        ("brand_id", pa.int64()),
        ("category_ids", pa.list_(pa.int64())),  # at most contracts.CATEGORIES
        ("text", pa.string()),  # cleaned; what encoders and prompts see
        ("offered", pa.bool_()),  # of this workspace's catalogue; other rows belong to other days or sources
    ]
)

USERS = pa.schema(
    [
        ("user", pa.int64()),
        ("raw_id", pa.string()),
        ("age", pa.int32()),
        ("gender", pa.string()),
        ("occupation", pa.string()),
        ("profile", pa.string()),  # one cleaned sentence fragment for prompts; empty where nothing is known
    ]
)

# Two rows an interaction: the positive at 2i, its frozen uniform negative at 2i+1, same user, position and time. After
# them further negatives of training rows (draw 1 and up), and the pairs of split test_on_sale; odd rows are negatives.
ROWS = pa.schema(
    [
        ("row", pa.int64()),
        ("split", pa.string()),
        ("user", pa.int64()),
        ("item", pa.int64()),
        ("label", pa.int8()),
        ("position", pa.int32()),
        ("timestamp", pa.int64()),
        ("day", pa.int32()),
        ("draw", pa.int32()),  # which of its training positive's negatives; 0 elsewhere
    ]
)

# ROWS joined point in time by Feast: what ranking and retrieval train on, ordered by `row`.
TRAINING_ROWS = pa.schema(
    [
        *ROWS,
        ("history", pa.list_(pa.int64())),  # exactly contracts.HISTORY, padded on the left
        *((name, pa.float32()) for name in contracts.DENSE),
    ]
)

KAR_TEXTS = pa.schema(
    [
        ("kind", pa.string()),  # user or item
        ("id", pa.int64()),
        ("prefix", pa.int32()),  # a row sees a user's text from this position on; 0 for items
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("model", pa.string()),
        ("engine", pa.string()),
    ]
)

COT_TEXTS = pa.schema(
    [
        ("row", pa.int64()),  # the training row it reasons about
        ("prompt_hash", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish", pa.string()),  # stop, or length where a part was cut
        ("flags", pa.list_(pa.string())),  # what its words say against it, names of `llm.quality.FLAGS`
        ("model", pa.string()),
        ("engine", pa.string()),
    ]
)
