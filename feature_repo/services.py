"""What each model reads, in one name: the training join and the online request ask for the same service."""

from feast import FeatureService
from views import item_attributes, item_popularity, user_history, user_profile

# The user's views come first: Feast's file store drops rows that agree on the keys joined so far and on time.
ranking = FeatureService(
    name="ranking",
    features=[user_history, item_popularity],
    description="Inputs of the ranker: history, activity and as-of popularity.",
)

retrieval = FeatureService(
    name="retrieval", features=[user_history], description="Inputs of the user tower: history and activity."
)

user_request = FeatureService(
    name="user_request", features=[user_history, user_profile], description="What a request reads about its user."
)

item_request = FeatureService(
    name="item_request", features=[item_attributes, item_popularity], description="What a request reads about items."
)
