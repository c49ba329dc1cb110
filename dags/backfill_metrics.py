"""Every day: what the day before was worth, by the newest release that was trained on earlier days.

Its partition is the day that is measured, the newest that is over. **In**: the prepared data of any later day, releases
and their collections. **Out**: `<home>/<data set>/metrics/<order>/day=2026-01-31/`, Parquet. **Cost**: seconds to a
minute. **Again**: what is there, made of the same, is not made again. A month, or what was lost, is made up for by
`airflow backfill create`, or by one `llmcf backfill metrics --from --to`: the files are the same.
"""

from datetime import timedelta

from airflow.sdk import dag
from assets import METRICS, RELEASE, TABLES
from verbs import days, usual, verb


@dag(schedule=days("0 6 * * *", before=1), **usual(__doc__, late_after=timedelta(hours=2)))
def backfill_metrics() -> None:
    verb(
        "backfill metrics",
        {"--dataset": "dataset", "--order": "order", "--seed": "seed"},
        fixed='--from "$LLMCF_DAG_PARTITION" --to "$LLMCF_DAG_PARTITION"',
        placed=False,
        pool="milvus",
        reads=[RELEASE, TABLES],
        writes=[METRICS],
    )


backfill_metrics()
