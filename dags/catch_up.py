"""Every day: send again the events of days that stopped half-way.

Airflow may merge or lose the event by which one DAG starts the next. **In**: the manifests of the newest days
(`llmcf workspace pending`). **Out**: the asset of the last stage that was made, with the day as its partition, so that
the next DAG runs. Features count once they are online, models if they are those that are released and not their plain
twins. A stage that is younger than a day is left alone, and a day up to the live release's. **Cost**: seconds.
**Again**: a consumer that is up to date answers at once. Once a day, so that a day that cannot be mended fails once a
day.
"""

import json
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, chain, dag, task
from airflow.sdk.exceptions import AirflowSkipException
from assets import COT_INDEX, FEATURES, RANKER, RETRIEVER
from verbs import MADE_OF, TOWER, usual, verb

STAGES = {"features": FEATURES, "cot_index": COT_INDEX, "ranker": RANKER, "retriever": RETRIEVER}


def again(stage: str, asset: Asset) -> Any:
    """A task that sends the asset's events of the days that wait for what follows `stage`."""

    @task(task_id=f"{stage}_again", outlets=[asset])
    def send(pending: str, *, outlet_events: Any = None) -> None:
        days = json.loads(pending)["details"]["after"][stage]
        if not days:
            raise AirflowSkipException("no day waits")
        outlet_events[asset].add_partitions(days)

    return send


@dag(schedule="0 12 * * *", **usual(__doc__, late_after=timedelta(hours=1)))
def catch_up() -> None:
    options = {"--dataset": "dataset", "--order": "order", **MADE_OF}
    pending = verb("workspace pending", options, given=TOWER, told=True, placed=False)
    chain(pending, [again(stage, asset)(pending.output) for stage, asset in STAGES.items()])


catch_up()
