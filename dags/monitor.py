"""Every day: hold the day's data, texts, scores and recommendations against those of an earlier day.

**In**: the day's workspace, as far as its DAGs have come. **Out**: its page, figures and text for Prometheus in
`<home>/<data set>/monitoring/`; an alert for each limit that is exceeded, with which the run ends well all the same.
**Cost**: a minute or so. **Again**: writes the same anew, and sends no alert twice.
"""

from datetime import timedelta

from airflow.sdk import dag
from assets import MONITORING, RANKER, RELEASE, RETRIEVER, TABLES, TEXTS, VECTORS
from verbs import days, usual, verb


@dag(schedule=days("0 8 * * *"), **usual(__doc__, late_after=timedelta(hours=2)))
def monitor() -> None:
    verb("monitor", reads=[TABLES, TEXTS, VECTORS, RANKER, RETRIEVER, RELEASE], writes=[MONITORING])


monitor()
