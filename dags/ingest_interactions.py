"""Every hour: take the hour's file of new interactions into the stores of the live release.

**In**: `<events>/2026-01-31T05.jsonl`, lines of {user, item, timestamp}; written under another name and renamed when
whole. **Out**: the ledger of pushes and the online store. **Cost**: seconds. **Again**: changes nothing, an event is
taken once. A file that is not there yet fails the task, which tries again; a late one is taken by clearing its hour.
Hours that passed while Airflow was down are made up for by `airflow backfill create`.
"""

from datetime import timedelta

from airflow.sdk import dag
from assets import EVENTS, PUSHED
from verbs import partitions, usual, verb


@dag(
    schedule=partitions("5 * * * *", before=1, form="%Y-%m-%dT%H"),
    **usual(__doc__, late_after=timedelta(hours=1)),
)
def ingest_interactions() -> None:
    verb(
        "features push",
        {"--dataset": "dataset"},
        fixed='--live --file "$LLMCF_DAG_EVENTS/$LLMCF_DAG_PARTITION.jsonl"',
        placed=False,
        only_if='[ -n "$LLMCF_DAG_EVENTS" ]',
        retries=6,
        reads=[EVENTS],
        writes=[PUSHED],
    )


ingest_interactions()
