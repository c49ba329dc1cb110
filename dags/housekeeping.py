"""Every day: remove old days with their collections and online rows, caches that nobody reads, old releases.

**In**: all days, releases and caches there are. **Out**: room on the disk. What a release names, pinned models and the
newest `keep_days` days stay. **Cost**: seconds. **Again**: may be killed and repeated.
"""

from datetime import timedelta

from airflow.sdk import chain, dag
from verbs import days, usual, verb


@dag(schedule=days("0 5 * * *"), **usual(__doc__, late_after=timedelta(hours=3)))
def housekeeping() -> None:
    releases = verb("release prune", {"--dataset": "dataset"}, placed=False, pool="milvus")
    workspaces = verb(
        "workspace prune",
        {"--dataset": "dataset", "--keep": "keep_days"},
        fixed="--yes",
        placed=False,
        pool="milvus",
    )
    chain(releases, workspaces)


housekeeping()
