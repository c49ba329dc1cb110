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

serving = FeatureService(
    name="serving",
    features=[user_profile, item_attributes],
    description="What an answer shows and a prompt may say: profile, title, brand, categories.",
)
