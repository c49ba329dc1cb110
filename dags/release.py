"""Every day: audit the leak rule, freeze a release, check it beside the live one, make it live, look, or go back.

**In**: `llmcf_ranker` and `llmcf_retriever` of the day. **Out**: `llmcf_release`. **Cost**: minutes. Nothing goes live
whose rows break the leak rule, that is worse than the live release by more than `gates.toml` allows, or whose canary
does not answer; what is live stays then. A day that is made up for does not replace a later one: its release is checked
by its bounds alone and stays aside, the last look is skipped. Where the last look fails, what was live before is live
again and the run fails; a service under load goes back by itself. **Again**: what was released already is not released
twice; what is checked, made live, looked at and gone back from is the release that `export` made, by its number; and
what was gone back from goes live by a person's `llmcf release promote` alone.
"""

import json
from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, chain, dag
from assets import COT_INDEX, FROZEN, RANKER, RELEASE, RETRIEVER, TABLES, TEXTS, TRAINING, VECTORS
from verbs import MADE_OF, TOWER, usual, verb

MADE, LIVE = "{{ ti.xcom_pull(task_ids='export') }}", "{{ ti.xcom_pull(task_ids='promote') }}"


def _number(printed: str) -> int:
    """Of the release that `llmcf export --json` made, or has found."""
    return json.loads(printed)["details"]["release"]


def _live(printed: str) -> bool:
    """Whether that release is live now."""
    return json.loads(printed)["details"]["live"]


@dag(
    schedule=PartitionedAssetTimetable(assets=RANKER & RETRIEVER),
    **usual(__doc__, late_after=timedelta(hours=3)),
)
def release() -> None:
    audit = verb("audit leaks", reads=[TABLES, TRAINING, TEXTS])
    export = verb(
        "export",
        MADE_OF,
        fixed="--no-promote",
        given=TOWER,
        told=True,
        output_processor=_number,
        pool="milvus",
        reads=[RANKER, RETRIEVER, TABLES, TRAINING, VECTORS, COT_INDEX],
        writes=[FROZEN],
    )
    check = verb(
        "release check",
        {"--dataset": "dataset", "--release": "release"},
        fixed="--onwards",
        placed=False,
        only_if='[ "$LLMCF_DAG_RELEASE_CHECK" != never ]',
        given={"release": MADE},
        quiet=True,
        pool="milvus",
        reads=[FROZEN, TABLES],
    )
    promote = verb(  # the very one that was made and checked, whatever has been trained since
        "release promote",
        {"--dataset": "dataset", "--release": "release"},
        fixed="--onwards",
        placed=False,
        task="promote",
        given={"release": MADE},
        told=True,
        output_processor=_live,
        trigger_rule="none_failed",
        pool="milvus",
        reads=[FROZEN],
    )
    canary = verb(
        "serve",
        {"--release": "release"},
        fixed="--check",
        only_if='[ "$LLMCF_DAG_LIVE" = True ]',
        given={"release": MADE, "live": LIVE},
        reads=[FROZEN],
        writes=[RELEASE],
    )
    back = verb(  # runs whatever the last look finds, and decides nothing about the run
        "release rollback",
        {"--dataset": "dataset", "--from": "release"},
        placed=False,
        task="roll_back",
        only_if='[ "$LLMCF_DAG_LIVE" = True ] && [ "$LLMCF_DAG_LOOKED" = False ]',
        given={"release": MADE, "live": LIVE, "looked": "{{ ti.xcom_pull(task_ids='serve') is not none }}"},
    )
    chain(audit, export, check, promote, canary, back.as_teardown(setups=promote))


release()
