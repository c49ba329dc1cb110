"""Every day: train the retriever that is released, and its plain twin, which it is measured against.

**In**: `llmcf_features`, `llmcf_cot_index`. **Out**: `llmcf_retriever` of the day. **Cost**: minutes to an hour of the
pool `train`. **Again**: goes on from the last epoch; trained already, it answers at once.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, chain, dag
from assets import COT_INDEX, PLAIN_RETRIEVER, RETRIEVER
from verbs import PARAMETERS, TOWER, trained_on, usual, verb

TRAIN = {"--model": "retriever", "--recipe": "recipe", "--seed": "seed"}


@dag(schedule=PartitionedAssetTimetable(assets=COT_INDEX), **usual(__doc__, late_after=timedelta(hours=12)))
def train_retrieval() -> None:
    plain = verb(
        "retrieve train",
        TRAIN,
        fixed="--framework none",
        task="retrieve_train_none",
        pool="train",
        reads=trained_on("none"),
        writes=[PLAIN_RETRIEVER],
    )
    options = {**TRAIN, "--framework": "tower_framework"}
    reads = trained_on(PARAMETERS["retriever_framework"].value or None)
    released = verb("retrieve train", options, given=TOWER, pool="train", reads=reads, writes=[RETRIEVER])
    chain(plain, released)


train_retrieval()
