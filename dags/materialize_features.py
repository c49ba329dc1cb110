"""Every day: from raw files to interactions, features, point-in-time training rows and the online store.

**In**: the data set's raw files and the ledger of pushes. **Out**: the asset `llmcf_features` of the day. **Cost**:
minutes, a core or Spark. **Again**: answers at once where nothing changed.
"""

from datetime import timedelta

from airflow.sdk import chain, dag
from assets import FEATURE_TABLES, FEATURE_VIEWS, FEATURES, PUSHED, RAW, TABLES, TRAINING
from verbs import days, usual, verb


@dag(schedule=days("0 2 * * *"), **usual(__doc__, late_after=timedelta(hours=3)))
def materialize_features() -> None:
    options = {
        "--seed": "seed",
        "--negative-draws": "negative_draws",
        "--engine": "data_engine",
        "--quiet-days": "quiet_days",
    }
    prepare = verb("data prepare", options, reads=[RAW, PUSHED], writes=[TABLES])
    report = verb("data report", reads=[TABLES])
    build = verb("features build", reads=[TABLES], writes=[FEATURE_TABLES])
    apply = verb("features apply", reads=[FEATURE_TABLES], writes=[FEATURE_VIEWS])
    join = verb("features join", reads=[TABLES, FEATURE_TABLES], writes=[TRAINING])
    materialize = verb("features materialize", reads=[FEATURE_VIEWS], writes=[FEATURES])
    chain(prepare, report)
    chain(prepare, build, apply, join, materialize)


materialize_features()
