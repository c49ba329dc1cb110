"""The data sets the product knows; the help texts name them (llmcf/verbs/options.py)."""

from core.data.amazon import AMAZON
from core.data.custom import CUSTOM
from core.data.dataset import Dataset
from core.data.movielens import MOVIELENS_100K

DATASETS: dict[str, Dataset] = {"movielens-100k": MOVIELENS_100K, **AMAZON, "custom": CUSTOM}
