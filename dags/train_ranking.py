"""Every day: train the ranker that is released, and its plain twin, which it is measured against.

**In**: `llmcf_features`, `llmcf_cot_index`. **Out**: `llmcf_ranker` of the day. **Cost**: minutes to an hour of the
pool `train`. **Again**: goes on from the last epoch; trained already, it answers at once.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, chain, dag
from assets import COT_INDEX, PLAIN_RANKER, RANKER
from verbs import trained_on, usual, verb

TRAIN = {"--model": "ranker", "--recipe": "recipe", "--seed": "seed"}


@dag(schedule=PartitionedAssetTimetable(assets=COT_INDEX), **usual(__doc__, late_after=timedelta(hours=12)))
def train_ranking() -> None:
    plain = verb(
        "rank train",
        TRAIN,
        fixed="--framework none",
        task="rank_train_none",
        pool="train",
        reads=trained_on("none"),
        writes=[PLAIN_RANKER],
    )
    options = {**TRAIN, "--framework": "framework"}
    released = verb("rank train", options, pool="train", reads=trained_on(), writes=[RANKER])
    chain(plain, released)


train_ranking()
