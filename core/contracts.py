"""The facts every stage agrees on: sizes, feature names, dtypes and model inputs.

Feast views, Triton configurations, Milvus collections and models repeat some of these facts in their own
language; `tests/contract` proves that they agree. Shapes are per row, without the batch dimension.
"""

from dataclasses import dataclass

PAD = 0  # row 0 of every vocabulary: nothing here
UNKNOWN = 1  # row 1: something never seen in training
FIRST_ID = 2  # the first real id

DAY = 86_400  # seconds

HISTORY = 20  # L, items before the target, newest last, padded on the left
CATEGORIES = 6  # C, categories an item keeps
EXAMPLES = 4  # K, in-context examples a request sees
WIDTH = 32  # D, embedding width of the ranking stage, width of the ICT decoder
RETRIEVAL_WIDTH = 64

ORDERS = ("shuffled-ties", "published", "global-time")
RECIPES = ("strict", "paper", "best")
SEED = 2023  # of every verb, where none is asked for
FRAMEWORKS = ("none", "kd", "kar", "llm-cf", "llm-cf+kd")
RETRIEVAL_FRAMEWORKS = ("none", "llm-cf")
COT_CONTROLS = ("facts", "words", "shuffled", "titles", "dealt")  # made out of other texts: llm/cot/controls.py
SPLITS = ("train", "valid", "test")
ON_SALE = "test_on_sale"  # a second test set: the same positives, negatives that were on sale by the day of the row

NEIGHBOURS = 20  # items in the dated list of those most often taken together with an item

# As-of numeric features, joined by Feast, in the order of the model's `dense` input. Read by the `best` recipe.
USER_DENSE = ("activity", "taste_popularity", "brand_affinity", "category_affinity")
ITEM_DENSE = ("popularity", "popularity_7d", "popularity_30d", "popularity_90d", "trend")
CROSS_DENSE = ("recency", "item_age", "brand_count", "category_count", "days_since_category", "cooccurrence")
DENSE = USER_DENSE + ITEM_DENSE + CROSS_DENSE
SEQUENCE = "sequence"  # a sequence model's dated score: a folder of scores/, and the dense feature that a variant reads


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named model input or output: NumPy dtype name and per-row shape: () is a scalar, ANY a release's width.

    An `optional` input may be left out of a request: its rows are then zero.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    optional: bool = False


ANY = -1
CONTRACT = 3  # version of the tensors below; a release says which it keeps to


RANKER_INPUTS = (
    Tensor("user", "int64"),
    Tensor("item", "int64"),
    Tensor("history", "int64", (HISTORY,)),
    Tensor("dense", "float32", (len(DENSE),)),
    Tensor("examples", "int64", (EXAMPLES,)),  # 1-based rows of the release's CoT set; 0 is "no example"
    Tensor("similarity", "float32", (EXAMPLES,)),
    # Of candidates whose id is UNKNOWN, because they came after the release: what is known of them instead.
    Tensor("brand", "int64", optional=True),
    Tensor("categories", "int64", (CATEGORIES,), optional=True),
    Tensor("text", "float32", (ANY,), optional=True),  # the encoder's vector of the item's text
)
RANKER_OUTPUTS = (Tensor("score", "float32"),)  # P(click), after the sigmoid

USER_VECTOR_INPUTS = (
    Tensor("user", "int64"),
    Tensor("history", "int64", (HISTORY,)),
    Tensor("examples", "int64", (EXAMPLES,)),
    Tensor("similarity", "float32", (EXAMPLES,)),
)
# As wide as the vectors of the release's item index: the tower's, and the last item's text where it is blended in.
USER_VECTOR_OUTPUTS = (Tensor("vector", "float32", (ANY,)),)

TRITON_MODELS = {
    "ranker": (RANKER_INPUTS, RANKER_OUTPUTS),
    "user_vector": (USER_VECTOR_INPUTS, USER_VECTOR_OUTPUTS),
}

# The model beside them that needs no library of ours: a whole request, one user and N items, so shapes are whole, too.
SCORE = "score"
SCORE_INPUTS = (
    Tensor("user_id", "string", (1,)),
    Tensor("item_id", "string", (ANY,)),
    # As Feast's service `ranking` gives them of the user; needed where `score` is asked for.
    Tensor("history", "int64", (HISTORY,), optional=True),
    Tensor("activity", "float32", (1,), optional=True),
    Tensor("day", "int64", (1,), optional=True),  # of the request, as Feast's on-demand view is given it
    # As the same service gives them of user and item, in the order of DENSE; needed where the ranker reads them.
    Tensor("dense", "float32", (ANY, len(DENSE)), optional=True),
    # Of items that the release does not have.
    Tensor("brand", "int64", (ANY,), optional=True),
    Tensor("categories", "int64", (ANY, CATEGORIES), optional=True),
    Tensor("text", "float32", (ANY, ANY), optional=True),
)
SCORE_OUTPUTS = (
    Tensor("score", "float32", (ANY,)),
    Tensor("user", "int64", (1,)),  # the rows by which Feast keeps them; UNKNOWN where the release does not have them
    Tensor("item", "int64", (ANY,)),
)
