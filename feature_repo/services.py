"""What each model reads, in one name: the training join and the online request ask for the same service."""
# pyright: reportArgumentType=false
# (Feast declares that a selection of a view's fields is None)

from feast import FeatureService
from views import item_attributes, item_neighbours, item_popularity, user_history, user_item, user_profile

# The user's views come first: Feast's file store drops rows that agree on the keys joined so far and on time.
ranking = FeatureService(
    name="ranking",
    features=[
        user_history[["history", "activity", "taste_popularity", "brand_affinity", "category_affinity"]],
        item_popularity[["popularity", "popularity_7d", "popularity_30d", "popularity_90d", "trend"]],
        user_item,
    ],
    description="Inputs of the ranker: the history and all as-of features.",
)

retrieval = FeatureService(
    name="retrieval",
    features=[user_history[["history", "activity"]]],
    description="Inputs of the user tower: history, activity.",
)

user_request = FeatureService(
    name="user_request", features=[user_history, user_profile], description="What a request reads about its user."
)

item_request = FeatureService(
    name="item_request",
    features=[item_attributes, item_popularity, item_neighbours],
    description="What a request reads about items.",
)
